"""The chat on a terminal: `loop.run` reads a line, does what it says, and draws what comes back."""
