"""Texts and subtitles: which words are translated, which formats transcripts have, languages."""
