"""Transcripts on their way out: printed as they grow, written to files, or as a JSON object."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gemma_cli.common.notices import figures, heading, notice
from gemma_cli.common.options import EngineOptions, OutputOptions
from gemma_cli.core.events import Turn, together
from gemma_cli.media.sound.findings import Damage
from gemma_cli.speech.output import TranscriptOptions
from gemma_cli.speech.pipeline import Answer, Task, Utterance, Utterances
from gemma_cli.speech.progress import Progress
from gemma_cli.speech.recording import Recording
from gemma_cli.speech.word_options import NO_WORDS, WordOptions
from gemma_cli.store.atomic_write import write_together
from gemma_cli.text.clock import clock
from gemma_cli.text.language_of_text import LIKELY, recognised
from gemma_cli.text.subtitles import lay_out
from gemma_cli.text.transcript import Segment, TranscriptWriter, Txt, document, format_named
from gemma_cli.views.confidence import write_coloured
from gemma_cli.views.sanitize import safe


@dataclass
class Transcript:
    """The transcript so far, its turns, and the damage to the recording."""

    segments: list[Segment] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    damage: Sequence[Damage] = ()


@dataclass(frozen=True)
class TranscriptOutput:
    """The output of one command's transcripts, and its formats.

    language: of the speech, by name; None: the model recognises it. formats: the first is that of stdout. many: whether
    there are several inputs. words: what is done with the times and probabilities of words.
    """

    task: Task
    language: str | None
    engine: EngineOptions
    output: OutputOptions
    options: TranscriptOptions
    formats: tuple[str, ...]
    many: bool
    words: WordOptions = field(default=NO_WORDS, kw_only=True)

    def progress(self, files: int) -> Progress:
        """Return the progress of the command over its inputs; it is shown where it stands in nobody's way."""
        return Progress(files, not self.output.quiet and (self.options.to_files or not sys.stdout.isatty()))

    def write(
        self,
        recording: Recording,
        answers: Iterator[Answer],
        paths: dict[str, Path] | None,
        progress: Progress,
        number: int,
    ) -> None:
        """Transcribe a recording to `paths` or stdout. number: its place among the inputs.

        Raises InputError.
        """
        transcript = Transcript(damage=recording.sound.findings.damage)
        printed = None if paths or self.output.as_json else format_named(self.formats[0])()
        if not self.output.quiet:
            recording.remark()
        with progress.of(recording, number):
            if printed and not printed.one_input:
                sys.stdout.write(heading(recording.name, 2 if self.many else 1))
            self.take(transcript, recording.name, answers, printed, progress.advance)
        if paths:
            self.save(transcript.segments, paths)
        silence = f"{recording.name}: the recording has no speech ({recording.duration_s:.1f} s)"
        self.finish(transcript, recording.name, recording.duration_s, silence)

    def take(
        self,
        transcript: Transcript,
        name: str,
        answers: Iterable[Answer],
        printed: TranscriptWriter | None,
        advance: Callable[[Utterance], None] = lambda utterance: None,
    ) -> None:
        """Add what the replies say to `transcript` as they come, and print it where there is a writer to do so."""
        utterances = Utterances(self.task, name)
        _print(printed.begin() if printed else "")
        for answer in answers:
            self._add(transcript, utterances.feed(answer), printed, advance)
        self._add(transcript, utterances.end(), printed, advance)
        _print(printed.end() if printed else "")

    def _add(
        self,
        transcript: Transcript,
        utterances: Sequence[Utterance],
        printed: TranscriptWriter | None,
        advance: Callable[[Utterance], None],
    ) -> None:
        for utterance in utterances:
            advance(utterance)
            transcript.turns.append(utterance.turn)
            segment = self.segment(len(transcript.segments), utterance)
            if segment:
                transcript.segments.append(segment)
            if segment and isinstance(printed, Txt) and self._in_colour:
                write_coloured(segment.text, segment.words or (), sys.stdout)
            elif segment and printed:
                for cue in self.cues(segment, type(printed)):
                    _print(printed.segment(cue))

    @property
    def _in_colour(self) -> bool:
        return self.words.confidence and sys.stdout.isatty()

    def segment(self, number: int, utterance: Utterance) -> Segment | None:
        """Return an utterance as a segment of the transcript, None for one without words."""
        text = utterance.texts[0]
        start, end, turn = round(utterance.start, 3), round(utterance.end, 3), utterance.turn
        return Segment(number, start, end, text, utterance.words, turn.avg_logprob) if text else None

    def cues(self, segment: Segment, kind: type[TranscriptWriter]) -> Iterable[Segment]:
        """Return what a format writes of a segment: of subtitles cues, in lines that fit."""
        if kind.subtitles:
            return self._fielded(lay_out([segment], self.words.layout(self.options.layout)))
        return self._fielded([self._in_language(segment) if kind.has_fields else segment])

    def save(self, segments: Sequence[Segment], paths: dict[str, Path]) -> None:
        """Write a complete transcript into its files, by format."""
        kinds = {path: format_named(form) for form, path in paths.items()}
        write_together(
            {
                path: safe(document([cue for segment in segments for cue in self.cues(segment, kind)], kind))
                for path, kind in kinds.items()
            }
        )
        if not self.output.quiet:
            notice(f"wrote {', '.join(map(str, paths.values()))}")

    def finish(self, transcript: Transcript, name: str, duration_s: float, silence: str) -> None:
        """Print the JSON object if that is asked for, the figures too, and `silence` where nobody spoke."""
        if self.output.as_json:
            from gemma_cli.views import json

            json.write(self.fields(transcript, name, duration_s), sys.stdout)
        if not transcript.turns and not self.output.quiet:
            notice(silence)
        for line in self._doubtful(transcript):
            notice(line)
        if self.output.stats:
            notice(figures(together(transcript.turns)))

    def _doubtful(self, transcript: Transcript) -> Iterator[str]:
        """Yield a line for each word below the limit of --review, and one where the times of words are missing."""
        untimed = sum(segment.words is None for segment in transcript.segments)
        if untimed and (self.words.word_times or self.words.review is not None or self.words.confidence):
            yield (
                f"{untimed} of {len(transcript.segments)} segments have "
                "no times for words, because the model provided none"
            )
        for segment in transcript.segments if self.words.review is not None else ():
            for word in segment.words or ():
                if word.probability < (self.words.review or 0.0):
                    yield f"{clock(word.start, 2)} {word.text!r} {word.probability:.2f}"

    def fields(self, transcript: Transcript, name: str, duration_s: float) -> dict[str, Any]:
        """Return the JSON object of a transcript."""
        from gemma_cli.views import json

        return json.transcript_object(
            transcript.turns,
            self.task.engine().info,
            self.engine.draft_tokens,
            file=name,
            language=self.language or recognised(self.spoken(transcript)),
            duration_s=duration_s,
            segments=list(self._fielded(map(self._in_language, transcript.segments))),
        ) | {"damage": [asdict(damage) for damage in transcript.damage] or None}

    def _in_language(self, segment: Segment) -> Segment:
        """Return a segment with its language: the requested one, else that of its text, if it reveals one."""
        return replace(segment, language=self.language or recognised(segment.text, LIKELY))

    def _fielded(self, segments: Iterable[Segment]) -> Iterable[Segment]:
        """Return segments with the fields that are asked for."""
        return segments if self.words.word_times else (replace(segment, words=None) for segment in segments)

    def spoken(self, transcript: Transcript) -> str:
        """Return the words of a transcript."""
        return " ".join(segment.text for segment in transcript.segments)


def _print(text: str) -> None:
    """Write to stdout immediately."""
    if text:
        sys.stdout.write(safe(text))
        sys.stdout.flush()
