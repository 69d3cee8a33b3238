"""Speakers told apart by channel: two microphones, or the two ends of a telephone call."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from gemma_cli.common.notices import heading
from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.media.audio import Part
from gemma_cli.speech.pipeline import Answer
from gemma_cli.speech.prefetch import Opening, Prefetcher
from gemma_cli.speech.progress import Progress
from gemma_cli.speech.recording import Recording
from gemma_cli.speech.transcript_output import Transcript, TranscriptOutput
from gemma_cli.store.journal import Journal
from gemma_cli.text.transcript import Segment, document, format_named
from gemma_cli.views.sanitize import safe


@dataclass(frozen=True)
class Speakers:
    """names: one for each channel; empty: "Speaker 1" and so on."""

    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> Speakers:
        """Read "channels" or "channels=Anna,Ben". Raises UsageError."""
        kind, given, names = text.partition("=")
        parts = tuple(name.strip() for name in names.split(",")) if given else ()
        if kind != "channels" or (given and not all(parts)):
            raise UsageError(f"--speakers {text}: give channels, or channels=NAME,NAME with one name per channel")
        return cls(parts)

    def of_channel(self, channel: int) -> str:
        """Return who speaks on a channel, from 1."""
        return self.names[channel - 1] if self.names else f"Speaker {channel}"

    def check(self, recording: Recording, count: int) -> None:
        """Raise InputError where the `count` channels of a recording do not tell speakers apart."""
        if count == 1:
            raise InputError(
                f"{recording.name}: the recording has only one channel, but "
                "--speakers needs one channel per speaker; leave out --speakers"
            )
        if self.names and len(self.names) != count:
            raise InputError(
                f"{recording.name}: --speakers has {len(self.names)} names, but the recording has {count} channels; "
                "give one name per channel"
            )


def openings_by_channel(opening: Callable[[Part], Opening], part: Part) -> Iterator[Opening]:
    """Yield how to open each channel of a file, as a recording of its own.

    The first is opened before the next is asked for: how many there are is not known before.
    """
    found: list[int] = []

    @contextmanager
    def first(quiet: bool) -> Iterator[tuple[Recording, Journal]]:
        with opening(replace(part, channel=1))(quiet) as (recording, journal):
            found.extend(recording.sound.findings.channels)
            yield recording, journal

    yield first
    for channel in range(2, max(found, default=1) + 1):
        yield opening(replace(part, channel=channel))


def write_by_channel(
    out: TranscriptOutput,
    ahead: Prefetcher,
    speakers: Speakers,
    paths: dict[str, Path] | None,
    progress: Progress,
    number: int,
) -> None:
    """Write what is said in the channels of the next recording into `paths`, or to stdout, in the order of time.

    number: its place among the inputs. Raises InputError.
    """
    transcript = Transcript()
    channel, count, name, duration_s = 1, 1, "", 0.0
    wrong: InputError | None = None
    while channel <= count:
        try:
            with ahead.following() as (recording, answers):
                name, duration_s = recording.name, recording.duration_s
                if channel == 1:
                    count = max(recording.sound.findings.channels)
                    speakers.check(recording, count)
                    if not out.output.quiet:
                        recording.remark()
                if wrong is None:
                    with progress.of(recording, number):
                        _take(out, transcript, recording, answers, speakers.of_channel(channel), progress)
        except InputError as error:  # the other channels of this file have to be passed over all the same
            wrong = wrong or error
        channel += 1
    if wrong:
        raise wrong
    transcript.segments = in_order(transcript.segments)
    if paths:
        out.save(transcript.segments, paths)
    elif not out.output.as_json:
        _print(out, transcript.segments, name)
    out.finish(transcript, name, duration_s, f"{name}: the recording has no speech ({duration_s:.1f} s)")
    recording.check_whole()


def _take(
    out: TranscriptOutput,
    transcript: Transcript,
    recording: Recording,
    answers: Iterator[Answer],
    speaker: str,
    progress: Progress,
) -> None:
    """Add what is said on one channel."""
    one = Transcript()
    out.take(one, recording.name, answers, None, progress.advance)
    transcript.segments += [replace(segment, speaker=speaker) for segment in one.segments]
    transcript.turns += one.turns
    transcript.damage = recording.sound.findings.damage


def in_order(segments: Sequence[Segment]) -> list[Segment]:
    """Return the segments of all channels by their starts, numbered anew. Those who speak at once overlap."""
    ordered = sorted(segments, key=lambda segment: (segment.start, segment.end))
    return [replace(segment, id=number) for number, segment in enumerate(ordered)]


def _print(out: TranscriptOutput, segments: Sequence[Segment], name: str) -> None:
    kind = format_named(out.formats[0])
    if not kind.one_input:
        sys.stdout.write(heading(name, 2 if out.many else 1))
    cues = [cue for segment in segments for cue in out.cues(segment, kind)]
    sys.stdout.write(safe(document(cues, kind)))
    sys.stdout.flush()
