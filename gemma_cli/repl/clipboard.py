"""The clipboard: text goes to it, and a picture comes from it.

Text is copied by the desktop's own program where there is one, else by asking the terminal (OSC 52). This is the only
place that writes an OSC sequence, and only /copy calls it.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import IO

from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.core.messages import Image
from gemma_cli.text.code_blocks import code_blocks

OSC_52_LIMIT = 74_994
"""Bytes most terminals take in one sequence (xterm's limit of 100,000 characters of base64)."""


def chosen_block(reply: str, which: str) -> str:
    """Return the code block that /copy names. Raises UsageError that says how many there are."""
    blocks = code_blocks(reply)
    wanted = len(blocks) if which == "code" else int(which) if which.isdecimal() else 0
    if not 1 <= wanted <= len(blocks):
        there = {0: "no code block", 1: "one code block"}.get(len(blocks), f"{len(blocks)} code blocks")
        remedy = (
            "/copy copies the entire reply" if not blocks else "/copy code copies the last block, /copy 1 the first"
        )
        raise UsageError(f"/copy {which}: the last reply has {there}; {remedy}")
    return blocks[wanted - 1]


def copy(text: str, terminal: IO[str], environ: Mapping[str, str] = os.environ) -> str:
    """Copy `text`, and return a notice about how it was copied."""
    data = text.encode("utf-8", "replace")
    if command := _program(environ):
        try:
            subprocess.run(command, input=data, check=True, timeout=5, stdout=subprocess.DEVNULL)
            return f"copied {len(text)} characters with {command[0]}"
        except (OSError, subprocess.SubprocessError):
            pass
    if not terminal.isatty():
        return "nothing was copied, because this system has no clipboard program: save the chat with /export FILE"
    if len(data) > OSC_52_LIMIT:
        return f"nothing was copied, because terminals cannot copy {len(data)} bytes: save the chat with /export FILE"
    terminal.write(f"\x1b]52;c;{base64.b64encode(data).decode()}\x07")
    terminal.flush()
    return f"sent {len(text)} characters to the terminal to copy (works only in terminals that support OSC 52)"


def _program(environ: Mapping[str, str]) -> list[str] | None:
    """Return the clipboard program of this desktop; none over ssh, where it would be on the wrong machine."""
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return None
    if environ.get("WAYLAND_DISPLAY") and shutil.which("wl-copy"):
        return ["wl-copy"]
    if environ.get("DISPLAY") and shutil.which("xclip"):
        return ["xclip", "-selection", "clipboard"]
    return next(([name] for name in ("pbcopy", "clip.exe") if shutil.which(name)), None)


_NAME = "picture from the clipboard"
_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff")
_LIMIT_S = 10.0


def picture(environ: Mapping[str, str] = os.environ) -> Image:
    """Return the picture in the clipboard. Raises UsageError where the system offers none, InputError for a bad one."""
    from gemma_cli.media.pictures.image import image_in
    from gemma_cli.media.spool import spooled

    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        raise UsageError(
            "over SSH, gemma cannot read the clipboard of your own machine: copy the picture to this machine as a file"
        )
    content = _grabbed() if sys.platform in ("darwin", "win32") else _pasted(environ)
    if not content:
        raise InputError("the clipboard has no picture: copy a picture first")
    with spooled(content) as file:
        return image_in(file, _NAME)


def _pasted(environ: Mapping[str, str]) -> bytes:
    """The bytes of a picture, by the desktop's own program."""
    if environ.get("WAYLAND_DISPLAY") and shutil.which("wl-paste"):
        listing, paste = ["wl-paste", "--list-types"], ["wl-paste", "--no-newline", "--type"]
    elif environ.get("DISPLAY") and shutil.which("xclip"):
        listing = ["xclip", "-selection", "clipboard", "-out", "-target", "TARGETS"]
        paste = ["xclip", "-selection", "clipboard", "-out", "-target"]
    else:
        raise UsageError("the clipboard cannot be read: install wl-clipboard (Wayland) or xclip (X11)")
    offered = _output(listing).decode("utf-8", "replace").split()
    kind = next((kind for kind in _TYPES if kind in offered), None)
    return _output([*paste, kind]) if kind else b""


def _output(command: list[str]) -> bytes:
    """Return the output of a clipboard program; nothing if it fails, as with an empty clipboard."""
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_LIMIT_S).stdout
    except (OSError, subprocess.SubprocessError):
        return b""


def _grabbed() -> bytes:
    """Return the picture on macOS and Windows, with Pillow."""
    import io

    from PIL import Image as pillow
    from PIL import ImageGrab

    try:
        found = ImageGrab.grabclipboard()
    except (OSError, NotImplementedError, ValueError):
        return b""
    if not isinstance(found, pillow.Image):
        return b""
    content = io.BytesIO()
    found.save(content, "PNG")
    return content.getvalue()
