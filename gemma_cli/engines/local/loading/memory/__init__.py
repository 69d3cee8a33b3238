"""Whether a model fits in memory, and where its layers go."""
