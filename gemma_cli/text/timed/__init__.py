"""Subtitles and lyrics: text with times, of which only the words are translated."""
