"""The encoding of a text file: by its byte-order mark, as UTF-8, by name, or by detection."""

from __future__ import annotations

import codecs
import re

from gemma_cli.core.records import dataclass

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_COMMON = {
    "cp1252": "de fr es it pt nl da sv no nb nn fi is ca gl eu af ga id ms sw",
    "cp1250": "pl cs sk hu sl hr ro sq bs",
    "cp1251": "ru uk bg sr mk be",
    "cp1253": "el",
    "cp1254": "tr az",
    "cp1255": "he yi",
    "cp1256": "ar fa ur",
    "cp1257": "lt lv et",
    "cp932": "ja",
    "gb18030": "zh",
    "big5": "",
    "cp949": "ko",
    "euc_jp": "",
    "koi8_r": "",
    "cp874": "th",
}
"""Encodings that text files have where they are not in UTF-8, most common first, and codes of their languages."""

_SAMPLE = 64 << 10
"""Bytes that detection reads."""

_CLOSE = 0.1
"""A language that the user named outweighs this much mess, as charset-normalizer measures it."""

_TEXT_CONTROLS = b"\t\n\v\f\r\x1a\x1b"

_CONTENT = (
    (b"\x89PNG", "a PNG picture", "use gemma describe-image"),
    (b"\xff\xd8\xff", "a JPEG picture", "use gemma describe-image"),
    (b"GIF8", "a GIF picture", "use gemma describe-image"),
    (b"BM", "a BMP picture", "use gemma describe-image"),
    (b"II*\0", "a TIFF picture", "use gemma describe-image"),
    (b"MM\0*", "a TIFF picture", "use gemma describe-image"),
    (b"%PDF", "a PDF", "save the text as a .txt file"),
    (b"PK\x03\x04", "a ZIP archive or an office document", "save the text as a .txt file"),
    (b"\x1f\x8b", "a gzip archive", "unpack the archive first"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack the archive first"),
    (b"ID3", "sound", "use gemma transcribe"),
    (b"OggS", "sound", "use gemma transcribe"),
    (b"fLaC", "sound", "use gemma transcribe"),
    (b"\x1aE\xdf\xa3", "a video", "use gemma transcribe"),
    (b"\0\0\x01\xba", "subtitles as pictures (VobSub)", "convert the subtitles to srt with an OCR program"),
    (b"PG", "subtitles as pictures (PGS)", "convert the subtitles to srt with an OCR program"),
)


_DECLARATIONS = (
    re.compile(rb"<\?xml\s[^>]*?\bencoding\s*=\s*[\"']([\w.:-]+)"),
    re.compile(rb"\s*<(?:[^>]*>\s*<)*?meta\s[^>]*?\bcharset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE),
    re.compile(rb"(?:#[^\n]*\n|\s)*msgid\s+\"\"\s*msgstr\s+(?:\"[^\n]*\"\s*)*?\"Content-Type:[^\n]*charset=([\w.:-]+)"),
)
"""Patterns of an encoding's declaration in XML, HTML and PO."""

_DECLARED_WITHIN = 4096
"""Bytes within which a text names its encoding."""

_SURROGATE = re.compile("\udced[\udca0-\udcbf][\udc80-\udcbf]")
"""Half of a surrogate pair in UTF-8, which programs write that count in UTF-16, decoded with `surrogateescape`."""


@dataclass(frozen=True)
class BadBytes:
    """A fault in UTF-8 text. offset: of the first bad byte, from 0. line: its line, from 1."""

    offset: int
    line: int
    byte: int
    count: int


@dataclass(frozen=True)
class Encoded:
    """A text, and how it was encoded. mark: its byte-order mark. detected: whether the encoding is a guess."""

    text: str
    encoding: str = "utf-8"
    mark: bytes = b""
    detected: bool = False

    def encode(self, text: str) -> bytes:
        """Encode another text in the same way. Raises UnicodeEncodeError."""
        return self.mark + text.encode(self.encoding)


def decode(content: bytes, encoding: str | None = None, language: str | None = None) -> Encoded | None:
    """Decode a text; None if it cannot be one.

    encoding: a name that Python knows; None: the byte-order mark, UTF-8, the text itself or detection tells. language:
    the code of the language it is in, which helps detection. A text that is UTF-8 but for few bytes is in no encoding.
    """
    for mark, name in _MARKS:
        if content.startswith(mark) and (encoding is None or _same_family(encoding, name)):
            return _decoded(content[len(mark) :], name, mark)
    if encoding is not None:
        return _decoded(content, encoding, b"")
    declared = _declared(content)
    if declared and content.isascii():
        return _decoded(content, declared, b"")
    if (text := _decoded(content, "utf-8", b"")) is not None:
        return text
    if declared and (text := _decoded(content, declared, b"")) is not None:
        return text
    return None if kind_of_binary(content) or bad_bytes(content) else _detected(content, language)


def bad_bytes(content: bytes) -> BadBytes | None:
    """Return what is wrong with a text that is UTF-8 but for few bytes: no more than it has good characters."""
    try:
        content.decode("utf-8")
        return None
    except UnicodeDecodeError as error:
        offset = error.start
    text, halves = _SURROGATE.subn("\ufffd", content.decode("utf-8", "surrogateescape"))
    bad = sum("\udc80" <= character <= "\udcff" for character in text)
    good = sum(character > "\x7f" for character in text) - bad
    if "\0" in text or good < bad:
        return None
    return BadBytes(offset, content.count(b"\n", 0, offset) + 1, content[offset], bad + 3 * halves)


def known_encoding(name: str) -> bool:
    """Return whether Python can decode text with that name."""
    try:
        return codecs.lookup(name)._is_text_encoding
    except (LookupError, ValueError):
        return False


def may_be_text(head: bytes) -> bool:
    """Return whether a file that begins so can be a text in any encoding but UTF-16 without a byte-order mark."""
    marked = any(head.startswith(mark) for mark, _ in _MARKS)
    return marked or not (kind_of_binary(head) or _controls(head))


def kind_of_binary(content: bytes) -> tuple[str, str] | None:
    """Return what a file that is no text is, and what to do with it, if its first bytes tell."""
    if not _controls(content[:_SAMPLE]):
        return None
    if content[:4] == b"RIFF":
        sort = content[8:12]
        return (
            ("a WebP picture", "use gemma describe-image")
            if sort == b"WEBP"
            else ("sound or video", "use gemma transcribe")
        )
    if content[4:8] == b"ftyp":
        return "video or sound", "gemma transcribe"
    return next(((name, remedy) for magic, name, remedy in _CONTENT if content.startswith(magic)), None)


def _declared(content: bytes) -> str | None:
    """Return the encoding that a text names itself, if it is one in which ASCII is ASCII."""
    head = content[:_DECLARED_WITHIN]
    name = next((found[1].decode() for declares in _DECLARATIONS if (found := declares.match(head))), None)
    try:
        return name if name and known_encoding(name) and "<A".encode(name) == b"<A" else None
    except UnicodeError:
        return None


def _same_family(encoding: str, name: str) -> bool:
    try:
        return codecs.lookup(encoding).name.replace("-sig", "").startswith(name[:6].rstrip("-"))
    except LookupError:
        return False


def _controls(content: bytes) -> bool:
    """Return whether there are control characters that no text holds."""
    return any(byte < 0x20 and byte not in _TEXT_CONTROLS for byte in content)


def _decoded(content: bytes, encoding: str, mark: bytes) -> Encoded | None:
    try:
        text = content.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None
    return None if "\0" in text else Encoded(text, encoding, mark)


def _detected(content: bytes, language: str | None) -> Encoded | None:
    from charset_normalizer import from_bytes

    sample = content[:_SAMPLE]
    names = list(_COMMON) if b"\0" not in sample else ["utf_16_le", "utf_16_be"]
    if b"\0" not in sample and _controls(sample):
        return None
    mess: dict[str, float] = {}
    for match in from_bytes(sample, cp_isolation=names):
        for name in match.could_be_from_charset:
            mess[name] = min(match.chaos, mess.get(name, 1.0))
    spoken = {name for name in names if language and language in _COMMON.get(name, "").split()}
    ranked = sorted((mess[name] - _CLOSE * (name in spoken), names.index(name), name) for name in mess if name in names)
    for _, _, name in ranked:
        found = _decoded(content, name, b"")
        if found is not None and found.encode(found.text) == content:
            return Encoded(found.text, name, detected=True)
    return None
