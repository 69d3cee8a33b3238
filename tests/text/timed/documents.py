"""Timed documents in tests: split, translated, and what must stay of them."""

import re

from gemma_cli.text.timed.formats import timed_format


def passages(document, suffix=".srt"):
    return list(timed_format(suffix, document).passages(document))


subtitles = passages


def translated(document, translation, suffix=".srt"):
    return "".join(
        passage.source if passage.text is None else passage.translated(translation(passage.text))
        for passage in passages(document, suffix)
    )


def times(document):
    """The lines of a document with an arrow."""
    return [line.strip() for line in re.split(r"[\r\n]+", document) if "-->" in line]
