"""Inline markup: tags, entities and line breaks within the words of a cue."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["open", "close", "single"]

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_ANGLE = re.compile(r"<(/?)\s*([^\s<>/.]*)[^<>]*?(/?)>", re.DOTALL)
_INVISIBLE = re.compile(r"[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Characters that set the direction of text or have no width: no words, so they are placed as tags are."""

_SWITCH = re.compile(r"\{\\([bius])([01])\}")
_VOID = frozenset(("br", "img", "hr", "wbr", "input", "!--"))


@dataclass(frozen=True)
class Tag:
    """A tag as it is written, at an offset in the words. name: pairs an opening tag with its closing one."""

    raw: str
    offset: int
    role: Role
    name: str


@dataclass(frozen=True)
class Words:
    """The words of a source, without markup. A line break is "\\n" in them.

    breaks: (offset, as it is written), blanks around it included. escaped: whether the source has entities.
    """

    plain: str
    tags: list[Tag] = field(default_factory=list)
    breaks: list[tuple[int, str]] = field(default_factory=list)
    escaped: bool = False


@dataclass(frozen=True)
class Markup:
    """The inline markup of a format.

    tag, line_break: match one of each; what neither of them matches is text. decode: turns text as it is written into
    words. encode: the inverse, for new words; it is given whether the source had escapes.
    """

    tag: re.Pattern[str]
    line_break: re.Pattern[str]
    decode: Callable[[str], str]
    encode: Callable[[str, bool], str]

    def words(self, source: str) -> Words:
        """Take the words out of a source."""
        plain, tags, breaks = "", [], []
        position, text = 0, ""
        while position < len(source):
            line_break = self.line_break.match(source, position)
            found = line_break or self.tag.match(source, position) or _INVISIBLE.match(source, position)
            if not found or not found[0]:
                text += source[position]
                position += 1
                continue
            plain, text = plain + self.decode(text), ""
            if line_break:
                breaks.append((len(plain), found[0]))
                plain += "\n"
            else:
                tags.append(Tag(found[0], len(plain), *_role(found[0])))
            position = found.end()
        return Words(plain + self.decode(text), tags, breaks, self.decode(source) != source)


def _role(raw: str) -> tuple[Role, str]:
    if switch := _SWITCH.fullmatch(raw):
        return ("open" if switch[2] == "1" else "close"), "{" + switch[1]
    angle = _ANGLE.fullmatch(raw)
    if angle is None or angle[3] or angle[2][:1] in "!?0123456789" or angle[2].lower() in _VOID:
        return "single", ""
    return ("close" if angle[1] else "open"), angle[2].lower()


def _unescape(text: str) -> str:
    return _ENTITY.sub(lambda found: html.unescape(found[0]), text)


def _escape(text: str, _: bool) -> str:
    return html.escape(text, quote=False)


def _escape_subrip(text: str, escaped: bool) -> str:
    """Escape as the cue itself does; a tag or an arrow that the model made up becomes harmless."""
    if escaped:
        return html.escape(text, quote=False)
    return re.sub(r"<(?=[/a-zA-Z])", "‹", text.replace("-->", "→")).replace("{\\", "(\\")


def _same(text: str) -> str:
    return text


_NEWLINE = r"[ \t]*(?:\r\n|\r|\n)(?:[ \t]|\r|\n)*"
_BRACES = r"\{(?:\\|[a-zA-Z]:)[^{}\r\n]*\}"
_TIME = r"<\d+:\d+(?:[:.,]\d+)*>"
_SUBRIP_NAMES = r"(?:[bius]|em|strong|font|span|c|v|lang|ruby|rt|sub|sup|small|big|strike|tt|a|p|div|center)"

SUBRIP = Markup(
    re.compile(rf"</?\s*{_SUBRIP_NAMES}(?:[\s.][^<>\r\n]*)?\s*/?>|{_TIME}|{_BRACES}", re.IGNORECASE),
    re.compile(rf"{_NEWLINE}|[ \t]*<br\s*/?>[ \t]*", re.IGNORECASE),
    _unescape,
    _escape_subrip,
)
WEBVTT = Markup(re.compile(r"<rt[^<>]*>[^<>]*</rt>|<[^<>]*>"), re.compile(_NEWLINE), _unescape, _escape)
XML = Markup(
    re.compile(r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>|</?[^\s<>/!?](?:[^<>\"']|\"[^\"]*\"|'[^']*')*>", re.DOTALL),
    re.compile(r"\s*<(?:\w+:)?br\s*(?:/>|>\s*</(?:\w+:)?br\s*>|>)\s*", re.IGNORECASE),
    _unescape,
    _escape,
)
_ELEMENT = r"</?[a-zA-Z](?:[^<>\"']|\"[^\"]*\"|'[^']*')*>"
HTML = Markup(
    re.compile(rf"<!--.*?-->|{_ELEMENT}", re.DOTALL),
    re.compile(r"\s*<br\b[^<>]*>\s*", re.IGNORECASE),
    _unescape,
    _escape,
)
XLIFF = Markup(
    re.compile(rf"<((?:\w+:)?(?:ph|bpt|ept|it))\b(?:[^<>]*/>|.*?</\1\s*>)|{XML.tag.pattern}", re.DOTALL),
    re.compile(r"(?!)"),
    _unescape,
    _escape,
)
MESSAGE = Markup(re.compile(_ELEMENT), re.compile(_NEWLINE), _same, lambda text, _: text)
"""Texts of programs: tags of HTML may be in them, and line ends are the author's."""

TEXT = Markup(re.compile(r"(?!)"), re.compile(r"(?!)"), _same, lambda text, _: text)
SUBSTATION = Markup(
    re.compile(r"\{[^{}]*\\p[1-9][^{}]*\}[^{]*|\{[^{}]*\}"),
    re.compile(r"[ \t]*\\[Nn][ \t]*"),
    lambda text: text.replace("\\h", "\u00a0"),
    lambda text, _: text.replace("\\", "/").replace("{", "(").replace("}", ")"),
)
SUBVIEWER = Markup(
    re.compile(_BRACES), re.compile(rf"{_NEWLINE}|[ \t]*\[br\][ \t]*"), _same, lambda text, _: text.replace("[br]", "")
)
LYRICS = Markup(re.compile(_TIME), re.compile(r"(?!)"), _same, lambda text, _: text)
FRAMES = Markup(
    re.compile(r"\{[a-zA-Z]:[^{}]*\}|(?:(?<=\|)|(?<=[}\]]))/"),
    re.compile(r"[ \t]*\|[ \t]*"),
    _same,
    lambda text, _: text.replace("|", "/").replace("{", "("),
)
