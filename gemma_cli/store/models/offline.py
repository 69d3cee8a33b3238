"""Network policy: libraries are kept offline, and a user can forbid `pull` too."""

from __future__ import annotations

import os

_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_set_here = False


def keep_libraries_offline() -> None:
    """Set HF_HUB_OFFLINE for the Hugging Face libraries, unless the user has set it."""
    global _set_here
    if _VARIABLES[0] not in os.environ:
        os.environ[_VARIABLES[0]] = "1"
        _set_here = True


def forbidden_by() -> str | None:
    """The variable with which the user forbids every download; None where downloads are allowed."""
    for name in _VARIABLES[int(_set_here) :]:
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return name
    return None
