"""One file per command; the prompt of a task is at the top of its file."""
