"""`gemma bench --task`: a data set answered plainly and with drafts, with the scores of both."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemma_cli.benchmark.quality.items import DataSet, Item, TaskName, read_items
from gemma_cli.benchmark.quality.scores import Scores, bare, check_installed, score
from gemma_cli.benchmark.runner import Arm, Measurement, read_something_else
from gemma_cli.benchmark.suites import Prompt
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.core.events import Turn, collect, together
from gemma_cli.core.messages import GREEDY, MAX_AUDIO_S, SAMPLE_RATE, Request, Sampling, ask
from gemma_cli.media.audio import read_audio
from gemma_cli.speech import instructions
from gemma_cli.speech.pipeline import TOKENS_PER_SECOND, Task, Utterances, spoken_answers
from gemma_cli.speech.recording import survey
from gemma_cli.speech.translation import parse
from gemma_cli.text.languages import Language, language

if TYPE_CHECKING:
    from rich.console import RenderableType

QUALITY = "Quality"


@dataclass(frozen=True)
class QualityOptions:
    """A data set to score replies on."""

    task: Annotated[
        TaskName | None,
        typer.Option(
            help="Measure the quality of the replies to the items of --data, with and without drafts.",
            rich_help_panel=QUALITY,
        ),
    ] = None
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with the items: JSONL, or the TSV file of Common "
            "Voice, CoVoST 2 or FLEURS next to the sound files.",
            rich_help_panel=QUALITY,
        ),
    ] = None
    origin: Annotated[
        str | None,
        typer.Option("--from", metavar="LANGUAGE", help="Language of the items in --data.", rich_help_panel=QUALITY),
    ] = None
    target: Annotated[
        str | None,
        typer.Option("--to", metavar="LANGUAGE", help="Language to translate into.", rich_help_panel=QUALITY),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Use only the first N items of --data.", rich_help_panel=QUALITY),
    ] = None

    def check(self) -> None:
        """Raises UsageError for options that do not go together."""
        if self.task is None and any(vars(self).values()):
            raise UsageError(
                "--data, --from, --to and --limit apply only to a --task: give --task transcribe, translate or chat too"
            )
        if self.task is not None:
            if self.data is None:
                raise UsageError(f"--task {self.task}: no items to measure; give --data FILE")
            check_installed()

    def job(self, sampling: Sampling) -> Job:
        """Read the data. Raises InputError, and UsageError where a language is not known."""
        assert self.task is not None
        assert self.data is not None
        data = read_items(self.data, self.task, self.limit)
        source = language(name) if (name := self.origin or data.source) else None
        target = language(name) if (name := self.target or data.target) else None
        if self.task == "translate" and target is None:
            raise UsageError("--task translate: the data names no target language; give --to LANGUAGE")
        return Job(self.task, self.data, data, source, target, sampling)


@dataclass(frozen=True)
class Job:
    """A task over a data set. sampling: of chats; speech and translations are decoded greedily."""

    task: TaskName
    path: Path
    data: DataSet
    source: Language | None
    target: Language | None
    sampling: Sampling

    def measure(self, engine: Engine, arms: Sequence[Arm]) -> Iterator[Measurement]:
        """Yield the reply of every arm to every item, in turns; the first item is asked once more, to warm up.

        Raises InputError that names the sound.
        """
        for run, items in ((0, self.data.items[:1]), (1, self.data.items)):
            for number, item in enumerate(items):
                for arm in arms if number % 2 else reversed(arms):
                    read_something_else(engine)  # so that every prompt is cold
                    prompt = Prompt(self.task, item.audio or item.text or "")
                    yield Measurement(run, arm, prompt, self._turn(engine, arm, item))

    def _turn(self, engine: Engine, arm: Arm, item: Item) -> Turn:
        if item.audio is None:
            return _reply(engine, self._text_request(item, arm))
        with survey(item.audio, quiet=True) as recording:
            if recording.duration_s > MAX_AUDIO_S:
                task = Task(lambda: engine, self._instruction(), arm.drafting, self._parts)
                return _long(task, recording)
        sound = read_audio(item.audio)
        limit = math.ceil(TOKENS_PER_SECOND * len(sound.samples) / SAMPLE_RATE) + 64
        request = Request(ask(self._instruction(), sound), replace(GREEDY, max_tokens=limit), arm.drafting)
        turn = _reply(engine, request)
        return replace(turn, text=self._parts(turn.text)[0])

    def _text_request(self, item: Item, arm: Arm) -> Request:
        assert item.text is not None
        if self.task == "chat":
            return Request(ask(item.text), self.sampling, arm.drafting)
        assert self.target is not None
        from gemma_cli.commands.translate import text_prompt  # a module of another command: only when needed

        prompt = text_prompt(item.text, self.source.name if self.source else None, self.target.name)
        return Request(ask(prompt), GREEDY, arm.drafting)

    def _instruction(self) -> str:
        source = self.source.name if self.source else None
        if self.target is None or self.task == "transcribe":
            return instructions.transcription(source)
        return instructions.translation(source or instructions.UNKNOWN_SOURCE, self.target.name)

    def _parts(self, reply: str) -> tuple[str, ...]:
        """Return the scored text of a reply to sound: the transcript, or only the translation."""
        if self.target is None or self.task == "transcribe":
            return (reply,)
        return (parse(reply, self.target.name)[1],)

    def scored(self, measurements: Sequence[Measurement]) -> dict[str, Scores]:
        """Score each arm, by name."""
        counted = [m for m in measurements if m.run]
        texts: dict[str, list[str]] = {}
        for measurement in counted:
            texts.setdefault(measurement.arm.name, []).append(measurement.turn.text)
        references = [item.reference for item in self.data.items]
        target = self.target.code if self.target else None
        return {name: score(self.task, references, said, target) for name, said in sorted(texts.items())}

    def as_object(self, scores: dict[str, Scores]) -> dict[str, Any]:
        """For --json, next to the figures of speed."""
        return {
            "task": self.task,
            "data": str(self.path),
            "quality": [{"name": name} | asdict(found) for name, found in scores.items()],
        }

    def write(self, measurements: Sequence[Measurement], path: Path) -> None:
        """Write each reply with its reference, as a line of JSON."""
        references = {item.audio or item.text: item.reference for item in self.data.items}
        with path.open("x", encoding="utf-8") as file:
            for m in measurements:
                if m.run:
                    reference = references[m.prompt.text]
                    entry = {
                        "arm": m.arm.name,
                        "item": m.prompt.text,
                        "reference": reference,
                        "text": m.turn.text,
                        "right": bare(reference) == bare(m.turn.text),
                    }
                    file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def table(scores: dict[str, Scores]) -> RenderableType:
    """Return the scores, an arm a row; columns that no arm has are left out."""
    from rich import box
    from rich.table import Table

    forms = {
        "items": ("items", "{}"),
        "exact": ("exact", "{:.1%}"),
        "bare": ("without case,\npunctuation", "{:.1%}"),
        "word_error_rate": ("word\nerror", "{:.2%}"),
        "character_error_rate": ("character\nerror", "{:.2%}"),
        "bleu": ("BLEU", "{:.1f}"),
        "chrf": ("chrF", "{:.1f}"),
    }
    shown = {name: form for name, form in forms.items() if any(getattr(s, name) is not None for s in scores.values())}
    drawn = Table(box=box.SIMPLE_HEAD)
    drawn.add_column("quality")
    for heading, _ in shown.values():
        drawn.add_column(heading, justify="right")
    for arm, found in scores.items():
        drawn.add_row(arm, *(form.format(getattr(found, name)) for name, (_, form) in shown.items()))
    return drawn


def _reply(engine: Engine, request: Request) -> Turn:
    with closing(engine.stream(request)) as events:
        return collect(events)


def _long(task: Task, recording: Any) -> Turn:
    """Return what is said in a recording of more than 30 s, segment after segment, as one turn."""
    utterances, turns, texts = Utterances(task, recording.name), [], []
    for answer in spoken_answers(task, recording):
        turns.append(answer.turn)
        texts += [utterance.texts[0] for utterance in utterances.feed(answer)]
    texts += [utterance.texts[0] for utterance in utterances.end()]
    if not turns:
        raise InputError(f"{recording.name}: the recording has no speech; remove the item from --data")
    return replace(together(turns), text=" ".join(filter(None, texts)))
