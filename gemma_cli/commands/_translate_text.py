"""Translating texts: passage by passage, with everything that is not text left as it stands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gemma_cli.common.inputs import opened
from gemma_cli.common.notices import figures, heading, notice
from gemma_cli.common.options import EngineOptions, OutputOptions
from gemma_cli.common.text_input import MOST_TEXT, as_text, text_in
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import GemmaError, InputError
from gemma_cli.core.events import Turn
from gemma_cli.core.messages import GREEDY, Request, ask
from gemma_cli.engines.replies import ordered_replies
from gemma_cli.media.files import STDIN, display_name
from gemma_cli.media.input_files import InputFile
from gemma_cli.speech.pipeline import together
from gemma_cli.store.atomic_write import write_together
from gemma_cli.text.cues import subtitles, times
from gemma_cli.text.documents import Splitter, plain, splitter
from gemma_cli.text.passages import Passage
from gemma_cli.text.repetition import loop, without_loops
from gemma_cli.views.sanitize import safe

if TYPE_CHECKING:
    from io import BufferedReader


@dataclass(frozen=True)
class TextTranslation:
    """What is wanted of a text, and how to ask for a passage. source None: the model tells by itself."""

    source: str | None
    target: str
    prompt: Callable[[str], str]


class Translator:
    """Asks the engine for one passage after another and keeps the turns."""

    def __init__(self, writing: TextTranslation, engine: Callable[[], Engine], options: EngineOptions) -> None:
        self.turns: list[Turn] = []
        self._writing, self._engine, self._drafting = writing, engine, options.drafting()

    def translate(self, passages: Iterable[Passage]) -> Iterator[str]:
        """Each passage in the other language, together where there are several; what is no text comes as it is."""
        waiting = list(passages)
        asked = [self._request(passage.text) for passage in waiting if passage.text is not None]
        if not asked:
            yield from (passage.source for passage in waiting)
            return
        texts = [passage.text for passage in waiting if passage.text is not None]
        with closing(ordered_replies(self._engine(), asked, lambda index, turn: _loops(turn, texts[index]))) as turns:
            for passage in waiting:
                if passage.text is None:
                    yield passage.source
                else:
                    yield passage.translated(self._settled(next(turns), passage.text))

    def _request(self, text: str) -> Request:
        limit = len(text.encode()) + 64  # no translation has more tokens than its original has bytes
        return Request(ask(self._writing.prompt(text)), replace(GREEDY, max_tokens=limit), self._drafting)

    def _settled(self, turn: Turn, text: str) -> str:
        """Return the translation in a reply, without its loops."""
        self.turns.append(turn)
        self._warn(turn, text)
        return without_loops(turn.text) if _loops(turn, text) else turn.text

    def _warn(self, turn: Turn, text: str) -> None:
        begins = f"{text[:40]}..." if len(text) > 40 else text
        if turn.finish_reason == "length":
            notice(f"the translation of {begins!r} does not end; do not trust it")
        if not turn.text.strip():
            notice(f"there is no translation of {begins!r}")


def _loops(turn: Turn, text: str) -> bool:
    return turn.finish_reason == "length" or (loop(turn.text) is not None and loop(text) is None)


def _translate_lines(translator: Translator) -> None:
    """Each line of stdin as soon as it comes: what stands behind another program answers while that still writes.

    Raises InputError.
    """
    read = False
    held = ""  # nothing is written before it is known that there is something to translate
    for line in _lines():
        read = True
        held += "".join(translator.translate(plain(line)))
        if translator.turns:
            _write(held)
            held = ""
    if not translator.turns:
        raise _nothing(STDIN) if read else InputError("standard input: empty (0 bytes)")


def _lines() -> Iterator[str]:
    source = cast("BufferedReader", sys.stdin.buffer)
    while line := source.readline(MOST_TEXT):
        text = as_text(line)
        if text is None:
            raise InputError("standard input: not text in UTF-8; convert it: iconv -t UTF-8")
        yield text


@dataclass(frozen=True)
class Texts:
    """How the texts of one command are translated. many: whether there are several inputs."""

    writing: TextTranslation
    engine: Callable[[], Engine]
    options: EngineOptions
    output: OutputOptions
    many: bool

    def lines(self) -> None:
        """Standard input to stdout, each line when it comes. Raises InputError."""
        translator = self._translator()
        _translate_lines(translator)
        self._tell(translator)

    def document(self, file: InputFile, path: Path | None) -> None:
        """A text into a file, or to stdout: as it comes or as an object. Raises InputError."""
        translator = self._translator()
        passages = _translate_document(file, translator, self.output.quiet)
        if path:
            write_together({path: _harmless("".join(passages))})
            if not self.output.quiet:
                notice(f"wrote {path}")
        elif self.output.as_json:
            self._print_object(display_name(file.path), "".join(passages), translator.turns)
        else:
            sys.stdout.write(heading(display_name(file.path), 2 if self.many else 1))
            _print(passages)
        self._tell(translator)

    def _translator(self) -> Translator:
        return Translator(self.writing, self.engine, self.options)

    def _tell(self, translator: Translator) -> None:
        if self.output.stats:
            notice(figures(together(translator.turns)))

    def _print_object(self, name: str, text: str, turns: list[Turn]) -> None:
        from gemma_cli.views import json

        about = {"file": name, "language": self.writing.source, "target_language": self.writing.target}
        absent = {"transcript": None, "duration_s": None, "segments": None}
        turn = replace(together(turns), text=text.strip())
        fields = json.turn_object(turn, self.engine().info, self.options.draft_tokens)
        json.write(about | absent | fields, sys.stdout)


def _translate_document(file: InputFile, translator: Translator, quiet: bool) -> Iterator[str]:
    """A text in another language, passage by passage as they come. Raises InputError before the first one."""
    name = display_name(file.path)
    with opened(file.path, quiet) as handle:
        document = text_in(handle, name)
    split = splitter(file.relative.name, document)
    passages = list(split(document))
    if not any(passage.text for passage in passages):
        raise _nothing(file.path)
    return _translated(name, document, passages, translator, split)


def _translated(
    name: str, document: str, passages: list[Passage], translator: Translator, split: Splitter
) -> Iterator[str]:
    written = []
    for passage, translation in zip(passages, translator.translate(passages), strict=True):
        _check_kept(passage, translation, split is plain or split is subtitles)
        written.append(translation)
        yield translation
    if split is subtitles and times("".join(written)) != times(document):
        raise GemmaError(f"{name}: the translation has other cues than the original")


def _check_kept(passage: Passage, translation: str, unmarked: bool) -> None:
    """Code and addresses within a sentence go to the model with it: tell where they come back changed."""
    if unmarked or passage.text is None:
        return
    from gemma_cli.text.markdown_passages import kept

    lost = [part for part in kept(passage.text) if part not in translation]
    if lost:
        notice(f"the translation lost {', '.join(lost)}; check it")


def _print(passages: Iterator[str]) -> None:
    """To stdout as they come; what ends without a newline gets one."""
    last = ""
    for passage in passages:
        last = passage or last
        _write(passage)
    if not last.endswith("\n"):
        sys.stdout.write("\n")


def _write(text: str) -> None:
    sys.stdout.write(_harmless(text))
    sys.stdout.flush()


def _harmless(text: str) -> str:
    """The text without what could drive a terminal; lines end as they did."""
    return "\r\n".join(map(safe, text.split("\r\n")))


def _nothing(file: str) -> InputError:
    return InputError(f"{display_name(file)}: nothing in it to translate")
