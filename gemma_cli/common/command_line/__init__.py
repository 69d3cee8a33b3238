"""From the command line, presets and config.toml to the values of options."""
