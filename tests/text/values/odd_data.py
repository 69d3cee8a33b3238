"""Random data files with the oddities that files in the wild have, and what they become when no word changes."""

from __future__ import annotations

import csv
import html
import io
import json
import random
from collections.abc import Callable

_MIXED = (
    "der Hund schläft unter dem Tisch und die Katze bellt nicht , Nein! Ja. 3 don't naïve 狗在睡觉。 犬は Ещё 👩‍👧 5<6 "
    'Q&A ... "so" a\\b {name} %s %(n)d {0} %1'
)
WORDS = _MIXED.split(" ")
Pair = tuple[str, str]
"""A file, and the same after a translation that changes no word."""


def _text(dice: random.Random, tags: tuple[Pair, ...] = ()) -> str:
    words = [dice.choice(WORDS) for _ in range(dice.randint(1, 8))]
    chosen = dice.sample(tags, min(len(tags), dice.choice((0, 0, 1, 2))))
    pairs = [tag for tag in chosen if tag[1]]
    for opening, closing in [*pairs[:1], *(tag for tag in chosen if not tag[1])]:
        first = dice.randrange(len(words))
        last = dice.randrange(first, len(words))
        words[first] = opening + words[first]
        words[last] += closing
    return " ".join(["Hund", *words])


def _po_string(dice: random.Random, text: str, newline: str) -> str:
    """A string of PO, on one line or on several that are cut anywhere."""
    parts = [text]
    if dice.random() < 0.3:
        cut = dice.randrange(len(text))
        parts = ["", text[:cut], text[cut:]]
    written = [part.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for part in parts]
    return newline.join(f'"{part}"' for part in written)


def po(dice: random.Random, newline: str) -> Pair:
    """Messages with contexts, comments, flags, plurals, and with translations or without."""
    forms = dice.choice((1, 2, 3))
    header = (
        f'# Titel{newline}msgid ""{newline}msgstr ""{newline}"Content-Type: text/plain; charset=UTF-8\\n"{newline}'
        f'"Plural-Forms: nplurals={forms}; plural={"n != 1" if forms > 1 else "0"};\\n"{newline}'
    )
    before = after = dice.choice(("", header))
    forms = forms if before else 2
    for _ in range(dice.randint(1, 6)):
        start = newline + dice.choice(("", f"#. der Hund{newline}", f"#: a.c:1{newline}#, c-format{newline}"))
        fuzzy = dice.random() < 0.2
        start += f"#, fuzzy{newline}" if fuzzy else ""
        start += dice.choice(("", "", f'msgctxt "Menü"{newline}'))
        text = _text(dice, (("<b>", "</b>"),)) + dice.choice(("", "\n", "\nDie Katze."))
        single, several = (_po_string(dice, each, newline) for each in (text, "viele " + text))
        start += f"msgid {single}{newline}"
        empty = dice.random() < 0.7
        if dice.random() < 0.3:
            start += f"msgid_plural {several}{newline}"
            wanted = [single if form == 0 and forms > 1 else several for form in range(forms)]
            lines = [(f"msgstr[{form}] ", string) for form, string in enumerate(wanted)]
        else:
            lines = [("msgstr ", single)]
        old = '""' if empty else '"fertig"'
        before += start + "".join(f"{name}{old}{newline}" for name, _ in lines)
        filled = empty and not fuzzy
        after += start + "".join(f"{name}{string if filled else old}{newline}" for name, string in lines)
    end = dice.choice(("", f'{newline}#~ msgid "weg"{newline}#~ msgstr "gone"{newline}'))
    return before + end, after + end


def _xml(text: str) -> str:
    """Text as XML, with its tags."""
    parts = text.replace("\0", "<").split("\1")
    return "".join(part if number % 2 else html.escape(part, quote=False) for number, part in enumerate(parts))


INLINE = tuple(
    (f"\1{opening}\1", f"\1{closing}\1" if closing else "")
    for opening, closing in (("<g id='1'>", "</g>"), ('<x id="2"/>', ""), ("<ph id='3'>&lt;br&gt;</ph>", ""))
)


def xliff(dice: random.Random, newline: str) -> Pair:
    """Units of XLIFF 1.2 with targets of all kinds."""
    before = after = (
        f'<?xml version="1.0" encoding="UTF-8"?>{newline}<xliff version="1.2">{newline}'
        f'<file original="a>b"><body>{newline}'
    )
    for number in range(dice.randint(1, 6)):
        source = _xml(_text(dice, INLINE))
        begin = f"<trans-unit id='{number}'>{newline}  <source>{source}</source>"
        begin, blank = (begin, f"{newline}  ") if dice.random() < 0.8 else (begin.replace(f"{newline}  ", ""), "")
        end = f"{newline}  <note>der Hund</note></trans-unit>{newline}"
        old, new = dice.choice(
            (
                ("", f"{blank}<target>{source}</target>"),
                ("<target/>", f"<target>{source}</target>"),
                ('<target state="new" />', f'<target state="new">{source}</target>'),
                ("<target></target>", f"<target>{source}</target>"),
                ("<target>fertig</target>", "<target>fertig</target>"),
                (
                    "<target state='translated'/><!-- <target/> -->",
                    f"<target state='translated'>{source}</target><!-- <target/> -->",
                ),
            )
        )
        before += begin + old + end
        after += begin + new + end
    return before + "</body></file></xliff>", after + "</body></file></xliff>"


def xliff_2(dice: random.Random, newline: str) -> Pair:
    """Segments of XLIFF 2 with a prefix for its namespace."""
    before = after = f'<x:xliff xmlns:x="urn:oasis:names:tc:xliff:document:2.0" version="2.0"><x:file id="f">{newline}'
    tags = (("\1<x:pc id='1'>\1", "\1</x:pc>\1"), ("\1<x:ph id='2'/>\1", ""))
    for number in range(dice.randint(1, 6)):
        source = _xml(_text(dice, tags))
        fixed = dice.random() < 0.2
        begin = f"<x:unit id='u{number}'{' translate=' if fixed else ''}"
        begin += ('"no"' if fixed else "") + f"><x:segment>{newline}\t<x:source>{source}</x:source>"
        end = f"{newline}</x:segment></x:unit>{newline}"
        before += begin + end
        after += begin + ("" if fixed else f"{newline}\t<x:target>{source}</x:target>") + end
    return before + "</x:file></x:xliff>", after + "</x:file></x:xliff>"


PAGE = (
    ("\1<b>\1", "\1</b>\1"),
    ("\1<a href='a?b=1&amp;c=2' title=\"der 'Hund'\">\1", "\1</a>\1"),
    ("\1<code>pip  install</code>\1 ", ""),
    ("\1<br />\1", ""),
    ("\1<!-- <p>nein -->\1", ""),
    ("\1<span translate=no>Foo</span>\1 ", ""),
    ("\1<img src=a alt='ein Bild'>\1", ""),
    ("\1&nbsp;&auml;&#228;\1 ", ""),
)


def page(dice: random.Random, newline: str) -> Pair:
    """HTML with what is not to be translated in it, tags that are not closed, and attributes of all kinds."""
    blocks = (
        "<p>{}",
        "<p class=x>{}</p>",
        "<ul><li>{}<li>x</ul>",
        "<h1 title='a > b'>{}</h1>",
        "<td>{}</td>",
        "{}",
        "<script>if (a < b) { '</p>' }</script>{}",
        "<pre>\n{}</pre>",
        "<div translate='no'><div>a</div>{}</div>",
        "<style>p > a { }</style>{}<hr>",
        '<button disabled>{}</button><input placeholder="Name">',
    )
    parts = [
        dice.choice(("<!DOCTYPE html>", "<html lang=de>")),
        "<title>Der Hund</title><meta name=description content='x'>",
    ]
    for _ in range(dice.randint(1, 6)):
        block = dice.choice(blocks)
        first, last = block.split("{}")
        parts.append(first + _xml(_text(dice, PAGE)) + dice.choice(("", " &lt; \n ", " < 5")) + last)
    text = newline.join(parts).replace("\n", newline) if newline != "\n" else newline.join(parts)
    return text, text


def json_file(dice: random.Random, newline: str) -> Pair:
    """Objects in arrays and in each other, written with blanks and escapes of all kinds."""
    rows = [
        {
            "text": _text(dice),
            "n": dice.choice((1, None, True, -1.5e3)),
            "inner": {"text": [_text(dice), "3"], "a.b": "x"},
        }
        for _ in range(dice.randint(1, 4))
    ]
    ascii_only, indent = dice.random() < 0.5, dice.choice((None, 1, "\t"))
    separators = dice.choice(((",", ":"), (", ", ": "), (" ,", " : ")))
    text = json.dumps(rows, ensure_ascii=ascii_only, indent=indent, separators=separators)
    if dice.random() < 0.3:
        text = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    if dice.random() < 0.3:
        text = text.replace("Q&A", "Q\\/A")
    text = text.replace("\n", newline) + dice.choice(("", newline))
    return text, text


def csv_file(dice: random.Random, newline: str, separator: str = "") -> Pair:
    """A table with quoted cells, line ends in them, empty cells and rows."""
    mark = separator or dice.choice(",;|\t")
    sink = io.StringIO()
    quoting = dice.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC))
    writer = csv.writer(sink, delimiter=mark, lineterminator=newline, quoting=quoting)
    writer.writerow(["id", "text", "no,te;a"])
    for number in range(dice.randint(1, 6)):
        text = _text(dice) + dice.choice(("", newline + "und mehr", mark))
        writer.writerow([number, text, dice.choice(("", "x", None))])
        sink.write(dice.choice(("", "", "", newline)))
    text = dice.choice(("", f"sep={mark}\r\n")) * (not separator) + sink.getvalue()
    return text, text


FORMATS: dict[str, Callable[[random.Random, str], Pair]] = {
    "po": po,
    "xlf": xliff,
    "xliff": xliff_2,
    "html": page,
    "json": json_file,
    "csv": csv_file,
    "tsv": lambda dice, newline: csv_file(dice, newline, "\t"),
}
FIELDS = {"json": ("text", "**.text"), "csv": ("text",), "tsv": ("text",)}


def odd_data(kind: str, dice: random.Random) -> tuple[bytes, bytes]:
    """A file of a format in some encoding, with line ends of some kind, and what it becomes."""
    newline = dice.choice(("\n", "\n", "\r\n") if kind in ("json", "csv", "tsv") else ("\n", "\n", "\r\n", "\r"))
    mark, encoding = dice.choice(
        ((b"", "utf-8"), (b"", "utf-8"), (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"))
    )
    before, after = FORMATS[kind](dice, newline)
    return mark + before.encode(encoding), mark + after.encode(encoding)
