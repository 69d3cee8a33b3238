"""The schema of config.json, read and checked, and the architecture that it describes."""
