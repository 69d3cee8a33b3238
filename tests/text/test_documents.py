import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gemma_cli.core.errors import InputError
from gemma_cli.text.documents import LONGEST, plain, split
from gemma_cli.text.markdown_passages import kept, markdown
from gemma_cli.text.passages import Passage
from tests.text.timed.documents import subtitles, times

SRT = """1
00:00:01,000 --> 00:00:02,500
Guten Morgen.

2
00:00:03,000 --> 00:00:05,000 X1:40 X2:600
<i>- Wie geht es dir?</i>
- Gut.

3
00:00:06,000 --> 00:00:07,000

4
00:00:08,000 --> 00:00:09,000
1984
"""

VTT = """WEBVTT - Ein Titel

STYLE
::cue { color: red }

NOTE nichts --> zu sehen

einleitung
00:01.000 --> 00:02.500 align:start
<v Anna>Guten Morgen.</v>

01:00:03.000 --> 01:00:05.000
Tschüss
"""

MARKDOWN = """---
title: Bleibt
---
# Eine Überschrift #

Ein Absatz mit `code` und
einem [Verweis](https://example.org/ä).

> Zitiert
> über zwei Zeilen

1. Erstens
   - innen
2. Zweitens

| Kopf | Zahl |
|:-----|-----:|
| Wert | 12 |

```sh
echo "kein Text"
```

    eingerückt

<div>HTML</div>

[ref]: https://example.org "Titel"

Zeile eins\\
Zeile zwei{two}
Zeile drei

Setext
======
""".replace("{two}", "  ")


def texts(passages):
    return [passage.text for passage in passages if passage.text is not None]


def shouted(split, document):
    return "".join(
        passage.source if passage.text is None else passage.translated(passage.text.upper())
        for passage in split(document)
    )


def test_only_the_words_of_cues_are_text():
    assert texts(subtitles(SRT)) == ["Guten Morgen.", "Wie geht es dir?", "Gut."]
    assert texts(subtitles(VTT)) == ["Guten Morgen.", "Tschüss"]
    assert shouted(subtitles, VTT) == VTT.replace("Guten Morgen.", "GUTEN MORGEN.").replace("Tschüss", "TSCHÜSS")
    assert "<v Anna>GUTEN MORGEN.</v>\n\n01:" in shouted(subtitles, VTT)


def test_a_document_with_other_line_ends_keeps_them():
    document = SRT.replace("\n", "\r\n")
    assert texts(subtitles(document)) == texts(subtitles(SRT))
    assert shouted(subtitles, document) == shouted(subtitles, SRT).replace("\n", "\r\n")


def test_a_translation_cannot_end_a_cue():
    (cue,) = [passage for passage in subtitles("1\n00:00:01,000 --> 00:00:02,000\nja\n\n") if passage.text]
    assert cue.translated("one\n\n\ntwo\n") == "one two"


def test_only_the_words_of_markdown_are_text():
    assert texts(markdown(MARKDOWN)) == [
        "Eine Überschrift",
        "Ein Absatz mit `code` und\neinem [Verweis](https://example.org/ä).",
        "Zitiert\nüber zwei Zeilen",
        *("Erstens", "innen", "Zweitens", "Kopf", "Zahl", "Wert"),
        *("Zeile eins", "Zeile zwei", "Zeile drei", "Setext"),
    ]


def test_the_marks_of_markdown_stay():
    loud = shouted(markdown, MARKDOWN)
    for line in (
        *("# EINE ÜBERSCHRIFT #", "> ZITIERT ÜBER ZWEI ZEILEN", "1. ERSTENS", "   - INNEN", "| WERT | 12 |"),
        *("|:-----|-----:|", 'echo "kein Text"', "    eingerückt", "<div>HTML</div>", "title: Bleibt"),
        *('[ref]: https://example.org "Titel"', "ZEILE EINS\\", "ZEILE ZWEI  ", "SETEXT", "======"),
    ):
        assert line in loud.split("\n"), line


def test_what_a_sentence_must_keep():
    assert kept("Mit `a b` und ``c`d``, [hier](x.md) oder https://example.org/a.") == [
        "``c`d``",
        "`a b`",
        "https://example.org/a.",
        "x.md",
    ]


def test_paragraphs_are_passages_and_long_ones_are_parted_between_sentences():
    long = " ".join(f"This is sentence number {number}, which is not long." for number in range(200))
    document = f"  One.\nTwo.\n\n\n{long}\n\n12 34\n"
    found = texts(plain(document))
    assert found[0] == "One.\nTwo."
    assert " ".join(found[1:]) == long
    assert all(len(text) <= LONGEST and text.endswith(".") for text in found)
    assert len(found) == 2 + len(long) // LONGEST


def test_a_sentence_without_end_is_parted_anyway():
    assert all(0 < len(text) <= LONGEST for text in texts(plain("word " * 3000)))
    assert texts(plain("字" * 5000)) == ["字" * LONGEST, "字" * LONGEST, "字" * 1000]


@pytest.mark.parametrize(
    ("suffix", "document", "cues", "markdown"),
    [
        (".srt", SRT, 4, False),
        (".txt", SRT, 4, False),
        ("", VTT, 3, False),
        ("", "\ufeff" + SRT, 4, False),
        (".md", "# a", None, True),
        (".txt", "1\nfrom 10:00 --> 11:00\n", None, False),
        (".txt", "", None, False),
        (".vtt", "WEBVTT\n", 0, False),
    ],
)
def test_content_tells_the_format_of_a_document_or_else_its_suffix(suffix, document, cues, markdown):
    found = split("a", document, suffix)
    assert (found.cues, found.markdown) == (cues, markdown)


@pytest.mark.parametrize("suffix", [".srt", ".ass", ".sbv", ".lrc", ".ttml", ".sub"])
def test_subtitles_without_a_cue_are_refused(suffix):
    with pytest.raises(InputError, match=r"^film: "):
        split("film", "<html><body>Not found.</body></html>\n", suffix)


MARKS = (
    *(
        "# a",
        "- b",
        "\n",
        "\n\n",
        "> c",
        "|d|e|\n|-|-|\n|f|g|",
        "```\n",
        "    ",
        "\t",
        "00:01.000 --> 00:02.000\n",
        "h",
    ),
    *("i.", "1", "<b>", "\r\n", "\\\n", "  \n", "`", "[x]: y\n", "***\n", "\x0b", "\x85", "---\n", "WEBVTT\n"),
)
ANY = st.text() | st.lists(st.sampled_from(MARKS)).map("".join)


@given(ANY)
@example("\x0b0")
@pytest.mark.parametrize("split", [plain, subtitles, markdown])
def test_passages_joined_are_the_document(split, document):
    passages = list(split(document))
    assert "".join(passage.source for passage in passages) == document
    assert all(passage.text is None or passage.text.strip() for passage in passages)


@given(ANY, st.text())
def test_no_translation_changes_the_times(document, translation):
    translated = "".join(
        passage.source if passage.text is None else passage.translated(translation) for passage in subtitles(document)
    )
    assert times(translated) == times(document)


def test_nothing_but_marks_is_no_text():
    assert texts(plain("* * *\n\n1234\n")) == []
    assert next(plain("1234\n")) == Passage("1234")
    assert re.sub(r"\s", "", shouted(plain, " a \n")) == "A"
