"""Parts of `gemma chat`, which other commands use too."""
