"""Folders for files: XDG folders, or their counterparts on macOS and Windows. Nothing here is created."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

_APP = "gemma-cli"


def config_file() -> Path:
    return platformdirs.user_config_path(_APP, appauthor=False) / "config.toml"


def cache_dir() -> Path:
    """Return the folder of data that can be made again: measurements, decoded media."""
    return platformdirs.user_cache_path(_APP, appauthor=False)


def data_dir() -> Path:
    """Return the folder of files made by gemma for the user: scripts for shells."""
    return platformdirs.user_data_path(_APP, appauthor=False)


def state_dir() -> Path:
    """Return the folder of data that cannot be made again: sessions, history."""
    return platformdirs.user_state_path(_APP, appauthor=False)


def hub_cache() -> Path:
    """The Hugging Face cache, found as huggingface_hub finds it but without importing it."""
    if explicit := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(explicit).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface" / "hub"
