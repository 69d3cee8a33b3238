"""Recordings to transcripts and translated speech, of any length, resumable."""
