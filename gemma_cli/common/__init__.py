"""What all commands need around an engine: options, opening it, showing replies, notices, batches of inputs."""
