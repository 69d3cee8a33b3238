"""Sound files, and the sound of videos, to mono samples at 16 kHz on the time line that a player shows."""
