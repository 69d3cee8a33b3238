"""Parts of `gemma translate`."""
