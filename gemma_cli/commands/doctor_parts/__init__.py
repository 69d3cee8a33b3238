"""The checks of `gemma doctor`, by subject."""
