"""The formats of subtitles and lyrics, by name and by how they begin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gemma_cli.text.passages import Passage
from gemma_cli.text.timed import cue_files, line_files, markup
from gemma_cli.text.timed.blocks import Block, Cue
from gemma_cli.text.timed.markup import Markup
from gemma_cli.text.timed.sentences import passages
from gemma_cli.text.timed.ttml import is_ttml, ttml


@dataclass(frozen=True)
class TimedFormat:
    """A format of timed text. begins: whether a document begins like it. blocks: splits a document."""

    name: str
    suffixes: tuple[str, ...]
    begins: Callable[[str], bool]
    blocks: Callable[[str], Iterator[Block]]
    markup: Markup

    def passages(self, document: str) -> Iterator[Passage]:
        """Split a document into structure and words to translate."""
        return passages(self.blocks(document), self.markup)

    def cues(self, document: str) -> int:
        """Count the cues of a document."""
        return sum(isinstance(block, Cue) for block in self.blocks(document))


def _is_webvtt(document: str) -> bool:
    return document.removeprefix("\ufeff").startswith("WEBVTT")


WEBVTT = TimedFormat("WebVTT", (".vtt",), _is_webvtt, cue_files.webvtt, markup.WEBVTT)
SUBRIP = TimedFormat("SubRip", (".srt",), cue_files.has_cues, cue_files.subrip, markup.SUBRIP)
FORMATS = (
    WEBVTT,
    SUBRIP,
    TimedFormat("SSA or ASS", (".ass", ".ssa"), line_files.is_substation, line_files.substation, markup.SUBSTATION),
    TimedFormat("TTML", (".ttml", ".dfxp"), is_ttml, ttml, markup.XML),
    TimedFormat("SBV or SubViewer", (".sbv",), cue_files.has_comma_cues, cue_files.subviewer, markup.SUBVIEWER),
    TimedFormat("MicroDVD or MPL2", (), line_files.is_frames, line_files.frames, markup.FRAMES),
    TimedFormat("LRC", (".lrc",), line_files.is_lyrics, line_files.lyrics, markup.LYRICS),
)
"""All formats. MicroDVD and SubViewer share the suffix .sub, so their content tells."""

SUFFIXES = frozenset({".sub", *(suffix for known in FORMATS for suffix in known.suffixes)})


def timed_format(suffix: str, document: str) -> TimedFormat | None:
    """Return the format of a document by how it begins, or else by its suffix. Its beginning is enough."""
    if WEBVTT.begins(document):
        return WEBVTT
    alike = [known for known in FORMATS if known.begins(document)]
    named = [known for known in FORMATS if suffix in known.suffixes]
    if named == [WEBVTT] and alike == [SUBRIP]:  # it lacks its header
        return WEBVTT
    return next(iter([*(known for known in alike if known in named), *alike, *named]), None)
