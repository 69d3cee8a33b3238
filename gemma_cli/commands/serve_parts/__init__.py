"""Parts of `gemma serve`."""
