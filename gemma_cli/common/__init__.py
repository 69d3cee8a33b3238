"""Code that all commands share around an engine: options, opening it, showing replies, notices, batches of inputs."""
