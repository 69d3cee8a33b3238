"""The interactive chat: `loop.run` reads a line, acts on it, and draws the result."""
