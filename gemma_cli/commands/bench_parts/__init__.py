"""Parts of `gemma bench`."""
