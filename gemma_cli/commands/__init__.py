"""One file per subcommand; the prompt a task uses stands on top of its file."""
