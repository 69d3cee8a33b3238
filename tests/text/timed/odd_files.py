"""Random subtitle files with the oddities that files in the wild have."""

from __future__ import annotations

import random
from collections.abc import Callable

_MIXED = (
    "der Hund schläft unter dem Tisch und die Katze bellt nicht , Nein! Ja. Ö 3 12% naïve 狗在睡觉。 犬は Ещё кот "
    "\u05db\u05dc\u05d1 e\u0301 👩‍👧 a\u2028b c\x85d x\u00a0y don't S.O.S. 5<6 Q&A ... – ♪ [Musik]"
)
WORDS = _MIXED.split(" ")
_LATIN = "der Hund schläft unter dem Tisch und die Katze bellt nicht , Nein! Ja. Größe 3 12% don't ... Q"
LATIN = _LATIN.split(" ")


def _line(dice: random.Random, words: tuple[str, ...] | list[str], tags: tuple[tuple[str, str], ...]) -> str:
    line = [dice.choice(words) for _ in range(dice.randint(1, 7))]
    for opening, closing in dice.sample(tags, min(len(tags), dice.choice((0, 0, 0, 1, 1, 2)))):
        first = dice.randrange(len(line))
        last = dice.randrange(first, len(line))
        line[first] = opening + line[first]
        line[last] += closing
    return dice.choice((" ", " ", " ", "  ")).join(line)


def _text(dice: random.Random, words: tuple[str, ...] | list[str], tags, newline: str) -> str:
    lines = [_line(dice, words, tags) for _ in range(dice.choice((1, 1, 1, 2, 2, 3)))]
    if dice.random() < 0.2:
        lines = [dice.choice(("- ", "-", "– ")) + line for line in lines]
    between = newline * 2 if dice.random() < 0.05 else newline
    return dice.choice(("", "", "", " ")) + between.join(lines) + dice.choice(("", "", "", " "))


ANGLE = (("<i>", "</i>"), ("<b>", "</b>"), ('<font color="#ff0">', "</font>"), ("<u>", ""), ("", "</i>"))
SUBRIP_TAGS = (*ANGLE, ("{\\an8}", ""), ("{\\i1}", "{\\i0}"), ("&amp;", "&nbsp;"), ("<3", ""))
WEBVTT_TAGS = (
    *ANGLE,
    ("<c.loud.red>", "</c>"),
    ("<v Anna Maria>", "</v>"),
    ("<00:00:01.500>", ""),
    ("&lt;", "&gt;"),
    ("\u202b", "\u202c"),
    ("<ruby>", "<rt>x</rt></ruby>"),
)
SUBSTATION_TAGS = (
    ("{\\i1}", "{\\i0}"),
    ("{\\pos(140,291)\\c&H1B130E&}", ""),
    ("{\\k20}", "{\\k30}"),
    ("{comment}", "\\h"),
    ("{\\p1}m 0 0 l 10 10{\\p0}", ""),
)
XML_TAGS = (
    ('<span tts:color="red" title="a&gt;b">', "</span>"),
    ("<!-- Notiz -->", ""),
    ("&amp;", "&#228;"),
    ("<metadata/>", ""),
)


def _clock(dice: random.Random, cue: int, mark: str) -> str:
    hours = dice.choice(("00", "0", "100", "1"))
    return f"{hours}:{cue // 60 % 60:02}:{cue % 60:02}{mark}{dice.randrange(1000):03}"


def subrip(dice: random.Random, words, newline: str) -> str:
    """SubRip with and without numbers, blank lines, and with times as people write them."""
    parts = [newline * dice.choice((0, 0, 0, 2))]
    for cue in range(dice.randint(1, 6)):
        mark = dice.choice((",", ",", ".", " , "))
        number = dice.choice((f"{cue + 1}{newline}", f"{cue + 1}{newline}", f" {cue} {newline}", ""))
        arrow = dice.choice((" --> ", " --> ", "-->", " -> ", "\t-->  "))
        settings = dice.choice(("", "", "", " X1:1 X2:2 Y1:3 Y2:4", " "))
        times = f"{_clock(dice, cue * 3, mark)}{arrow}{_clock(dice, cue * 3 + 2, mark)}{settings}"
        text = dice.choice((_text(dice, words, SUBRIP_TAGS, newline),) * 6 + ("", "1984", " "))
        parts.append(f"{number}{times}{newline}{text}{newline}{newline * dice.choice((1, 1, 1, 0, 2))}")
    return "".join(parts)


def webvtt(dice: random.Random, words, newline: str) -> str:
    """WebVTT with notes, styles, regions, identifiers, settings and a second header."""
    extras = (
        f"NOTE der Hund{newline}und die Katze{newline}{newline}",
        f"STYLE{newline}::cue(.red) {{ color: red }}{newline}{newline}",
        f"REGION{newline}id:fred{newline}{newline}",
        f"WEBVTT{newline}{newline}",
    )
    parts = [dice.choice(("WEBVTT", "WEBVTT - Ein Titel", f"WEBVTT{newline}Kind: captions")), newline * 2]
    for cue in range(dice.randint(1, 6)):
        parts.append(dice.choice(("", "", "", "", *extras)))
        parts.append(dice.choice(("", "", f"einleitung{newline}", f"{cue}{newline}")))
        times = f"{_clock(dice, cue * 3, '.')} --> {_clock(dice, cue * 3 + 2, '.')}"
        settings = dice.choice(("", "", " align:start position:0%", " region:fred line:85.19%,end"))
        blank = dice.choice(("", "", "", f" {newline}"))
        parts.append(f"{times}{settings}{newline}{blank}{_text(dice, words, WEBVTT_TAGS, newline)}{newline}{newline}")
    return "".join(parts)


def substation(dice: random.Random, words, newline: str) -> str:
    """ASS and SSA with styles, comments and fonts."""
    columns = dice.choice(("Layer", "Marked")) + ", Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"
    lines = ["[Script Info]", "; Kommentar", "Title: Der Hund", "", "[V4+ Styles]", "Style: Default,Arial,20", ""]
    lines += ["[Events]", f"Format: {columns}"]
    for cue in range(dice.randint(1, 6)):
        kind = dice.choice(("Dialogue", "Dialogue", "Dialogue", "Comment"))
        text = _text(dice, words, SUBSTATION_TAGS, dice.choice(("\\N", "\\n")))
        style = dice.choice(("Default", "Default", "Signs"))
        lines.append(f"{kind}: 0,0:00:{cue:02}.00,0:00:{cue + 1:02}.50,{style},Anna,0,0,0,,{text}")
    lines.append("Dialogue: 0,0:01:00.00,0:01:01.00,Default,,0,0,0,,Der Hund, die Katze.")
    lines += dice.choice(([], ["", "[Fonts]", "fontname: a.ttf", "ABC"]))
    return newline.join(lines) + newline


def sbv(dice: random.Random, words, newline: str) -> str:
    """SBV as YouTube writes it, or SubViewer with its header."""
    parts = [dice.choice(("", "", f"[INFORMATION]{newline}[TITLE]Der Film{newline}[END INFORMATION]{newline}"))]
    for cue in range(dice.randint(1, 6)):
        times = f"0:00:{cue:02}.000,0:00:{cue + 1:02}.000"
        parts.append(f"{times}{newline}{_text(dice, words, (), dice.choice((newline, '[br]')))}{newline}{newline}")
    return "".join(parts)


def lrc(dice: random.Random, words, newline: str) -> str:
    """LRC with fields, several times in a line and times of words."""
    lines = [*dice.choice(([], ["[ti:Der Hund]", "[ar:Ein Sänger]", "[offset:+500]"]))]
    tags = (("<00:01.00>", "<00:02.00>"),)
    for cue in range(dice.randint(1, 8)):
        times = "".join(f"[00:{cue:02}.{dice.randrange(100):02}]" for _ in range(dice.choice((1, 1, 2))))
        lines.append(times + dice.choice((_line(dice, words, tags), _line(dice, words, tags), "")))
        lines += dice.choice(([], [], [""]))
    return newline.join([*lines, "[00:59.00]der Hund"]) + newline


def ttml(dice: random.Random, words, newline: str) -> str:
    """TTML with prefixes, metadata, spans, breaks and comments."""
    prefix = dice.choice(("", "", "tt:"))
    escaped = [word.replace("&", "&amp;").replace("<", "&lt;") for word in words]
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<{prefix}tt xmlns="http://www.w3.org/ns/ttml" xml:lang="de">']
    lines += [f"<{prefix}head><ttm:title>Der Film</ttm:title></{prefix}head>", f"<{prefix}body><{prefix}div>"]
    for cue in range(dice.randint(1, 6)):
        line_break = dice.choice((f"<{prefix}br/>", f"<{prefix}br />{newline}  "))
        text = _text(dice, escaped, XML_TAGS, line_break)
        lines.append(f'<{prefix}p xml:id=\'c{cue}\' begin="00:00:{cue:02}.000" end="{cue + 1}s">{text}</{prefix}p>')
    lines += [f"<{prefix}p begin='9s' end='10s'>Der Hund</{prefix}p>", f"</{prefix}div></{prefix}body></{prefix}tt>"]
    return newline.join(lines)


def frames(dice: random.Random, words, newline: str) -> str:
    """MicroDVD or MPL2."""
    left, right = dice.choice(("{}", "[]"))
    lines = dice.choice(([], [f"{left}1{right}{left}1{right}25.000"]))
    tags = (("{y:i}", ""), ("{c:$0000ff}", ""))
    for cue in range(dice.randint(1, 6)):
        times = f"{left}{cue * 50}{right}{left}{cue * 50 + 40}{right}"
        lines.append(times + _text(dice, words, tags, "|"))
    return newline.join([*lines, f"{left}900{right}{left}950{right}der Hund"]) + dice.choice(("", newline))


FORMATS: dict[str, Callable[[random.Random, list[str], str], str]] = {
    "srt": subrip,
    "vtt": webvtt,
    "ass": substation,
    "sbv": sbv,
    "lrc": lrc,
    "ttml": ttml,
    "sub": frames,
}


def odd_file(kind: str, dice: random.Random) -> bytes:
    """A file of a format that has at least one cue, in some encoding, with line ends of some kind or of several."""
    encoding, mark = dice.choice(
        [("utf-8", b"")] * 5
        + [("utf-8", b"\xef\xbb\xbf"), ("cp1252", b""), ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")]
    )
    words = LATIN if encoding == "cp1252" else [word for word in WORDS if kind not in ("sub", "sbv") or "[" not in word]
    newline = dice.choice(("\n", "\n", "\r\n", "\r\n", "\r"))
    text = FORMATS[kind](dice, words, newline)
    if dice.random() < 0.1:
        text = "".join(dice.choice((newline, "\n")) if part == newline else part for part in _split(text, newline))
    if dice.random() < 0.2:
        text = text.rstrip("\r\n")
    if encoding == "cp1252":
        text = "".join(character for character in text if ord(character) < 256)
    return mark + text.encode(encoding)


def _split(text: str, newline: str) -> list[str]:
    parts = text.split(newline)
    return [part for pair in zip(parts, [newline] * (len(parts) - 1) + [""], strict=True) for part in pair]
