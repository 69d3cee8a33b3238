"""Sound files, and the sound of films, to mono samples at 16 kHz on the time line that a player shows."""
