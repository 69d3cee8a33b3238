"""Parsing of a line typed into the chat, and the files it names."""
