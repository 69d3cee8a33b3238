"""From a checkpoint folder to a model in memory, and what it will take."""
