"""Translation of texts, passage by passage; everything else is preserved."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gemma_cli.commands.translate_parts.text_file import TextFile, nothing_to_translate, read_document, write_text
from gemma_cli.common.inputs import opened
from gemma_cli.common.notices import figures, heading, notice
from gemma_cli.common.options import EngineOptions, OutputOptions
from gemma_cli.common.text_input import GIVE_ENCODING, MOST_TEXT, as_text, text_in
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Turn, together
from gemma_cli.core.messages import GREEDY, Request, ask
from gemma_cli.engines.replies import ordered_replies
from gemma_cli.media.files import STDIN, display_name
from gemma_cli.media.input_files import InputFile
from gemma_cli.store.atomic_write import write_together
from gemma_cli.text.documents import plain, sentences
from gemma_cli.text.languages import language
from gemma_cli.text.passages import Passage
from gemma_cli.text.repetition import loop, without_loops
from gemma_cli.views.sanitize import safe

if TYPE_CHECKING:
    from io import BufferedReader


@dataclass(frozen=True)
class TextTranslation:
    """The task for a text, and the prompt for a passage. source None: the model tells by itself."""

    source: str | None
    target: str
    prompt: Callable[[str], str]


class Translator:
    """A translator that sends passages to the engine and saves the turns."""

    def __init__(self, writing: TextTranslation, engine: Callable[[], Engine], options: EngineOptions) -> None:
        self.turns: list[Turn] = []
        self._writing, self._engine, self._drafting = writing, engine, options.drafting()

    def translate(self, passages: Iterable[Passage]) -> Iterator[str]:
        """Each passage in the other language, together where there are several; what is no text comes as it is."""
        waiting = [(passage, list(sentences(passage.text or ""))) for passage in passages]
        texts = [part.text for _, parts in waiting for part in parts if part.text is not None]
        if not texts:
            yield from (passage.source for passage, _ in waiting)
            return
        asked = [self._request(text) for text in texts]
        with closing(ordered_replies(self._engine(), asked, lambda index, turn: _loops(turn, texts[index]))) as turns:
            for passage, parts in waiting:
                if passage.text is None:
                    yield passage.source
                else:
                    translation = "".join(self._part(turns, part) for part in parts).strip()
                    _warn_of_marks(passage, translation)
                    yield passage.translated(translation)

    def _part(self, turns: Iterator[Turn], part: Passage) -> str:
        if part.text is None:
            return part.source
        return part.before + self._settled(next(turns), part.text).strip() + part.after

    def _request(self, text: str) -> Request:
        limit = len(text.encode()) + 64  # no translation has more tokens than its original has bytes
        return Request(ask(self._writing.prompt(text)), replace(GREEDY, max_tokens=limit), self._drafting)

    def _settled(self, turn: Turn, text: str) -> str:
        """Return the translation in a reply, without its loops."""
        self.turns.append(turn)
        self._warn(turn, text)
        reply = without_loops(turn.text) if _loops(turn, text) else turn.text
        return reply if reply == text else safe(reply)

    def _warn(self, turn: Turn, text: str) -> None:
        begins = f"{text[:40]}..." if len(text) > 40 else text
        if turn.finish_reason == "length":
            notice(f"the translation of {begins!r} repeats the same words until its end: check the translation")
        if not turn.text.strip():
            notice(f"the model wrote no translation of {begins!r}")


def _warn_of_marks(passage: Passage, translation: str) -> None:
    if lost := passage.lost(translation):
        notice(f"{(passage.text or '')[:40]!r} stays untranslated: the model's translation changed {', '.join(lost)}")
    for raw in passage.misplaced(translation):
        notice(
            f"{raw} was inside a word of {(passage.text or '')[:40]!r}; "
            f"in the translation, {raw} encloses the entire word"
        )


def _loops(turn: Turn, text: str) -> bool:
    return turn.finish_reason == "length" or (loop(turn.text) is not None and loop(text) is None)


def _translate_lines(translator: Translator) -> None:
    """Translate each line of stdin as soon as it comes, so that a program before this one is answered while it writes.

    Raises InputError.
    """
    read = False
    held = ""  # nothing is written before there is something to translate
    for line in _lines():
        read = True
        held += "".join(translator.translate(plain(line)))
        if translator.turns:
            write_text(held)
            held = ""
    if not translator.turns:
        raise nothing_to_translate(STDIN) if read else InputError("standard input: empty (0 bytes)")


def _lines() -> Iterator[str]:
    source = cast("BufferedReader", sys.stdin.buffer)
    number = 0
    while line := source.readline(MOST_TEXT):
        number += 1
        text = as_text(line)
        if text is None:
            raise InputError(
                f"standard input: line {number:,} is not UTF-8; if the text has another encoding, {GIVE_ENCODING}"
            )
        yield text


@dataclass(frozen=True)
class Texts:
    """The translation of one command's texts.

    many: whether there are several inputs. encoding: of the files, if it is known. fields: the values of JSON and
    tables to translate.
    """

    writing: TextTranslation
    engine: Callable[[], Engine]
    options: EngineOptions
    output: OutputOptions
    many: bool
    encoding: str | None = None
    fields: tuple[str, ...] = ()

    def lines(self) -> None:
        """Standard input to stdout, each line when it comes. Raises InputError."""
        translator = self._translator()
        _translate_lines(translator)
        self._tell(translator)

    def document(self, file: InputFile, path: Path | None) -> None:
        """Translate a text into a file, or to stdout: as it comes or as an object. Raises InputError."""
        translator = self._translator()
        work = self._read(file)
        passages = work.translated(translator.translate)
        if path:
            write_together({path: work.encoded("".join(passages))})
            if not self.output.quiet:
                notice(f"wrote {path}")
        elif self.output.as_json:
            self._print_object(work.name, "".join(passages), translator.turns)
        else:
            sys.stdout.write(heading(work.name, 2 if self.many else 1))
            work.print(passages, alone=not self.many)
        self._tell(translator)

    def _read(self, file: InputFile) -> TextFile:
        source = language(self.writing.source).code if self.writing.source else None
        with opened(file.path, self.output.quiet) as handle:
            text = text_in(handle, display_name(file.path), self.encoding, source, GIVE_ENCODING)
        return read_document(display_name(file.path), file.relative, text, self.fields)

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
