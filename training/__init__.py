"""Training of pocket, a very small Gemma 4 with its drafter, from scratch and on generated data. See README.md."""
