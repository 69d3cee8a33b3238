"""gemma: the terminal's Gemma 4."""

__version__ = "0.1.0"
