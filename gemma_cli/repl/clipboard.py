"""Text to the clipboard: by the desktop's own program where there is one, else by asking the terminal (OSC 52).

This is the only place that writes an OSC sequence, and only /copy calls it.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Mapping
from typing import IO

OSC_52_LIMIT = 74_994
"""Bytes most terminals take in one sequence (xterm's limit of 100,000 characters of base64)."""


def copy(text: str, terminal: IO[str], environ: Mapping[str, str] = os.environ) -> str:
    """Copy `text`; the result says how, for the user."""
    data = text.encode("utf-8", "replace")
    if command := _program(environ):
        try:
            subprocess.run(command, input=data, check=True, timeout=5, stdout=subprocess.DEVNULL)
            return f"copied {len(text)} characters with {command[0]}"
        except (OSError, subprocess.SubprocessError):
            pass
    if not terminal.isatty():
        return "not copied: neither a clipboard program nor a terminal is there; write it with /export"
    if len(data) > OSC_52_LIMIT:
        return f"not copied: {len(data)} bytes are more than a terminal takes; write them with /export"
    terminal.write(f"\x1b]52;c;{base64.b64encode(data).decode()}\x07")
    terminal.flush()
    return f"asked the terminal to copy {len(text)} characters (OSC 52; not every terminal does)"


def _program(environ: Mapping[str, str]) -> list[str] | None:
    """The clipboard program of this desktop; none over ssh, where it would be the wrong machine's."""
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return None
    if environ.get("WAYLAND_DISPLAY") and shutil.which("wl-copy"):
        return ["wl-copy"]
    if environ.get("DISPLAY") and shutil.which("xclip"):
        return ["xclip", "-selection", "clipboard"]
    return next(([name] for name in ("pbcopy", "clip.exe") if shutil.which(name)), None)
