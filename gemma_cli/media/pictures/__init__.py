"""Pictures: bytes to pixels, within limits."""
