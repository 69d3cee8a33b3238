"""Text that may reach a terminal: without control characters (CWE-150).

Each character is judged alone, so a sequence split over two deltas is as harmless as a whole one, and the same filter
serves answers, thoughts, file names and error messages. C0 and C1 controls are shown in caret notation, as git shows
them; characters that are invisible or reorder the line are dropped, as gemini-cli drops them. ZWJ and ZWNJ stay:
scripts and emoji need them.
"""

from __future__ import annotations

import json

_C0_C1 = (*range(0x20), *range(0x7F, 0xA0))

_INVISIBLE = (
    0x061C,  # Arabic letter mark
    0x200B,  # zero-width space
    *(0x200E, 0x200F),  # left-to-right and right-to-left marks
    *range(0x202A, 0x202F),  # bidirectional embeddings and overrides
    *range(0x2060, 0x2070),  # word joiner, invisible operators, bidirectional isolates, deprecated controls
    0xFEFF,  # byte-order mark
    *range(0xFFF9, 0xFFFC),  # interlinear annotation
    *range(0xE0000, 0xE0080),  # tags
)
_BREAKS = (0x2028, 0x2029)  # line and paragraph separators
_SURROGATES = range(0xD800, 0xE000)


def _caret(code: int) -> str:
    """^[ for ESC, ^? for DEL; C1 as in vis(3): M-^[ for 0x9B."""
    return f"M-^{chr(code - 0x80 ^ 0x40)}" if code >= 0x80 else f"^{chr(code ^ 0x40)}"


_TEXT: dict[int, str | None] = (
    {code: _caret(code) for code in _C0_C1 if code not in (0x09, 0x0A, 0x0D)}
    | dict.fromkeys((0x0D, *_INVISIBLE))  # a lone CR overwrites the line; of CRLF only LF is needed
    | dict.fromkeys(_BREAKS, "\n")
    | dict.fromkeys(_SURROGATES, "\ufffd")
)
_LINE = _TEXT | {code: _caret(code) for code in (0x09, 0x0A, 0x0D)} | dict.fromkeys(_BREAKS, " ")
_JSON = {code: json.dumps(chr(code))[1:-1] for code in (*range(0x7F, 0xA0), *_INVISIBLE, *_BREAKS)} | dict.fromkeys(
    _SURROGATES, "\ufffd"
)


def safe(text: str) -> str:
    """Remove from model text all non-printable characters except tabs and newlines."""
    return text.translate(_TEXT)


def safe_line(text: str) -> str:
    """Make a file name, path or error fit for one line of a terminal: newlines become visible escapes."""
    return text.translate(_LINE)


def safe_json(document: str) -> str:
    """JSON written with ensure_ascii=False, with the same characters escaped: the same value to any parser.

    Lone surrogates, which no encoder would take, become U+FFFD.
    """
    return document.translate(_JSON)
