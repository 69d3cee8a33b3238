"""Translating texts: passage by passage, with everything that is not text left as it stands."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, cast

from gemma_cli.commands._common import MOST_TEXT, as_text, figures, listen, notice, read_text, start
from gemma_cli.commands._hearing import ESCAPE, together
from gemma_cli.cues import begins_like_subtitles, subtitles, times
from gemma_cli.documents import plain, splitter
from gemma_cli.engines import Engine
from gemma_cli.errors import GemmaError, InputError
from gemma_cli.events import Turn
from gemma_cli.loops import loop, without_loops
from gemma_cli.media.files import STDIN, display_name
from gemma_cli.messages import GREEDY, Request, ask
from gemma_cli.options import EngineOptions, OutputOptions
from gemma_cli.passages import Passage
from gemma_cli.views.sanitize import safe

if TYPE_CHECKING:
    from io import BufferedReader


@dataclass(frozen=True)
class Writing:
    """What is wanted of a text, and how to ask for a passage. source None: the model tells by itself."""

    source: str | None
    target: str
    prompt: Callable[[str], str]


class Translator:
    """Asks the engine for one passage after another and keeps the turns."""

    def __init__(self, writing: Writing, engine: Callable[[], Engine], options: EngineOptions) -> None:
        self.turns: list[Turn] = []
        self._writing, self._engine, self._drafting = writing, engine, options.drafting()

    def translate(self, passage: Passage) -> str:
        """The passage in the other language; what is no text comes back as it is."""
        if passage.text is None:
            return passage.source
        text = passage.text
        limit = len(text.encode()) + 64  # no translation has more tokens than its original has bytes
        request = Request(ask(self._writing.prompt(text)), replace(GREEDY, max_tokens=limit), self._drafting)
        turn = listen(self._engine(), request)
        if _loops(turn, text):
            other = listen(self._engine(), replace(request, sampling=replace(ESCAPE, max_tokens=limit)))
            turn = turn if _loops(other, text) else other
        self.turns.append(turn)
        self._warn(turn, text)
        translation = without_loops(turn.text) if _loops(turn, text) else turn.text
        return passage.translated(translation)

    def _warn(self, turn: Turn, text: str) -> None:
        begins = f"{text[:40]}..." if len(text) > 40 else text
        if turn.finish_reason == "length":
            notice(f"the translation of {begins!r} does not end; do not trust it")
        if not turn.text.strip():
            notice(f"there is no translation of {begins!r}")


def _loops(turn: Turn, text: str) -> bool:
    return turn.finish_reason == "length" or (loop(turn.text) is not None and loop(text) is None)


def translate_text(file: str, writing: Writing, head: bytes, options: EngineOptions, output: OutputOptions) -> None:
    """Write a text in another language to stdout. head: its first bytes. Raises InputError."""

    @cache
    def model() -> Engine:
        return start(options, output)

    translator = Translator(writing, model, options)
    begins = head.decode("utf-8", "ignore")
    if file == STDIN and not output.as_json and not begins_like_subtitles(begins):
        _translate_lines(translator)
    else:
        _translate_document(file, translator, writing, model, options, output)
    if output.stats:
        notice(figures(together(translator.turns)))


def _translate_lines(translator: Translator) -> None:
    """Each line of stdin as soon as it comes: what stands behind another program answers while that still writes."""
    read = False
    held = ""  # nothing is written before it is known that there is something to translate
    for line in _lines():
        read = True
        held += "".join(translator.translate(passage) for passage in plain(line))
        if translator.turns:
            _write(held)
            held = ""
    if not translator.turns:
        raise _nothing(STDIN) if read else InputError("standard input: empty (0 bytes)")


def _write(text: str) -> None:
    """To stdout, without what could drive a terminal; lines end as they did."""
    sys.stdout.write("\r\n".join(map(safe, text.split("\r\n"))))
    sys.stdout.flush()


def _lines() -> Iterator[str]:
    source = cast("BufferedReader", sys.stdin.buffer)
    while line := source.readline(MOST_TEXT):
        text = as_text(line)
        if text is None:
            raise InputError("standard input: not text in UTF-8; convert it: iconv -t UTF-8")
        yield text


def _translate_document(
    file: str,
    translator: Translator,
    writing: Writing,
    model: Callable[[], Engine],
    options: EngineOptions,
    output: OutputOptions,
) -> None:
    document = read_text(file)
    split = splitter(file, document)
    passages = list(split(document))
    if not any(passage.text for passage in passages):
        raise _nothing(file)
    written: list[str] = []
    for passage in passages:
        translation = translator.translate(passage)
        _check_kept(passage, translation, split is plain or split is subtitles)
        written.append(translation)
        if not output.as_json:
            _write(translation)
    whole = "".join(written)
    if split is subtitles and times(whole) != times(document):
        raise GemmaError(f"{display_name(file)}: the translation has other cues than the original")
    if output.as_json:
        _print_object(file, whole, translator.turns, writing, model(), options.draft_tokens)
    elif not whole.endswith("\n"):
        sys.stdout.write("\n")


def _check_kept(passage: Passage, translation: str, unmarked: bool) -> None:
    """Code and addresses within a sentence go to the model with it: tell where they come back changed."""
    if unmarked or passage.text is None:
        return
    from gemma_cli.markdown_passages import kept

    lost = [part for part in kept(passage.text) if part not in translation]
    if lost:
        notice(f"the translation lost {', '.join(lost)}; check it")


def _print_object(file: str, text: str, turns: list[Turn], writing: Writing, engine: Engine, draft_tokens: int) -> None:
    from gemma_cli.views import json

    about = {"file": display_name(file), "language": writing.source, "target_language": writing.target}
    absent = {"transcript": None, "duration_s": None, "segments": None}
    turn = replace(together(turns), text=text.strip())
    json.write(about | absent | json.turn_object(turn, engine.info, draft_tokens), sys.stdout)


def _nothing(file: str) -> InputError:
    return InputError(f"{display_name(file)}: nothing in it to translate")
