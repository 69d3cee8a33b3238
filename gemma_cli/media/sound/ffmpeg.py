"""The sound of videos and of what libsndfile does not read, through ffmpeg's libraries (PyAV, the extra `video`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.media.container import open_container
from gemma_cli.media.sound.convert import Blocks
from gemma_cli.media.sound.edit_list import Span, empty_spans
from gemma_cli.media.sound.findings import Findings
from gemma_cli.media.sound.links import ends_inside_a_page, pages_missing
from gemma_cli.media.sound.timeline import Timeline
from gemma_cli.media.sound.tracks import chosen, is_picture
from gemma_cli.text.clock import clock

if TYPE_CHECKING:
    import numpy as np
    from av import AudioFrame, AudioResampler, Packet
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.stream import Stream

_TIMED = frozenset(
    {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "mxf", "nut", "rm"}
    | {"dv", "gxf", "wtv", "flac"}
)
"""Containers whose time stamps are those of the recording; a bare stream's are made up by ffmpeg, from its bytes."""

_LENGTH_IN_HEADER = {"matroska,webm": 1.0, "asf": 1.0, "mxf": 1.0, "flac": 0.01, "wv": 0.01, "tta": 0.01, "ape": 0.01}
"""Containers that announce how long they are, and the seconds they may be wrong, so that a cut can be known."""

_LOSSY = frozenset({"mpegts", "mpeg"})
"""Containers made for transmission, which know when a packet has lost a part."""

_NEAR_S = 0.06
"""Time stamps may be so far off: they are rounded, to milliseconds or to the packet."""

_CUT_S = 1.0  # a sound track of MP4 may be shorter than announced
_LONG_HOLE_S = 0.2  # worth a remark
_OVERLAP_S = 0.25  # more is no overlap but sound whose time is wrong: nothing of it is dropped
_LONGEST_PACKET_S = 10.0  # ffmpeg takes a number that is not there for a length
_MOST_ERRORS = 50
_SILENCE = 1 << 16  # samples of a gap at a time
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")
"""Tags between the frames of joined MP3s, which are not damage."""


def blocks(file: BinaryIO, name: str, track: str | None, findings: Findings) -> Blocks:
    """Read a sound track as (rate, float32 [n, channels]), with silence where the container has a gap.

    track: its number from 1, or its language; None takes the default. Raises InputError.
    """
    known = _known_of(file)
    file.seek(0)
    with open_container(file, name) as container:
        stream = chosen(container, name, track, findings)
        yield from _Track(container, stream, findings, known).blocks()


@dataclass(frozen=True)
class _Known:
    """Facts about a file that ffmpeg does not report. empty: empty ranges of edit lists, by the track's identifier."""

    pages_missing: bool = False
    cut: bool = False
    empty: Mapping[int, list[Span]] = field(default_factory=dict)


def _known_of(file: BinaryIO) -> _Known:
    file.seek(0)
    head = file.read(8)
    if head[:4] == b"OggS":
        return _Known(pages_missing(file), ends_inside_a_page(file))
    return _Known(empty=empty_spans(file)) if head[4:] == b"ftyp" else _Known()


def has_more_than_sound(file: BinaryIO, name: str) -> bool:
    """Whether the file has pictures or several sound tracks: its timeline is then the container's."""
    file.seek(0)
    with open_container(file, name) as container:
        pictures = any(not is_picture(stream) for stream in container.streams.video)
        return pictures or len(container.streams.audio) > 1


def packet_seconds(file: BinaryIO, name: str) -> tuple[float, float]:
    """Measure the first sound track by its packets, without decoding them, in seconds: (of sound, of holes in it).

    Raises InputError.
    """
    file.seek(0)
    sound = holes = 0.0
    end: float | None = None
    with open_container(file, name) as container:
        for packet in _demuxed(container):
            if packet.stream not in container.streams.audio[:1]:
                continue
            tick = float(packet.time_base or 0)
            length = (packet.duration or 0) * tick
            if length > _LONGEST_PACKET_S:
                continue
            sound += length
            if packet.pts is not None:
                holes += max(0.0, packet.pts * tick - end) if end is not None else 0.0
                end = packet.pts * tick + length
    return sound, holes


def _demuxed(container: InputContainer) -> Iterator[Packet[Stream]]:
    """Yield all packets of the streams known when the file was opened; PyAV stops at the first of a later stream."""
    while True:
        try:
            yield from container.demux()
        except IndexError:
            continue
        return


class _Track:
    """One pass over a sound track."""

    def __init__(self, container: InputContainer, stream: AudioStream, findings: Findings, known: _Known) -> None:
        import av

        self._container, self._stream, self._findings = container, stream, findings
        kind = container.format.name
        self._holes_are_damage = kind == "flac" or known.pages_missing
        self._cut = known.cut
        self._empty = known.empty.get(stream.id, [])
        self._timed = container.format.name in _TIMED
        start = (container.start_time or 0) / av.time_base
        # The time line of MP4 begins at 0 by definition; what comes later begins with an empty edit.
        self._origin = min(0.0, start) if container.format.name.startswith("mov") else start
        self._timeline = Timeline(self._origin)
        self._position = 0.0  # seconds given so far
        self._form: tuple[int, int] | None = None
        self._resampler: AudioResampler | None = None
        self._resampled: tuple[object, ...] = ()
        self._holes_s = 0.0
        self._first_hole: float | None = None

    def blocks(self) -> Blocks:
        for packet in self._packets():
            if packet.stream is not self._stream:
                self._place(packet)
                continue
            for frame in self._frames(packet):
                yield from self._placed(frame)
        self._check_length()
        if self._first_hole is not None:
            self._findings.remark(
                f"{self._holes_s:.1f} s of sound are missing, from {clock(self._first_hole, 1)} on; "
                "gemma reads silence instead"
            )

    def _packets(self) -> Iterator[Packet[Stream]]:
        """Yield all packets; damage is recorded and skipped while more data follows."""
        import av

        errors = 0
        while errors < _MOST_ERRORS:
            try:
                for packet in _demuxed(self._container):
                    yield packet
                    if packet.size:
                        errors = 0
                return
            except av.error.FFmpegError as error:
                errors += 1
                self._findings.damaged(self._position, f"damaged ({_reason(error)})")

    def _frames(self, packet: Packet[Stream]) -> list[AudioFrame]:
        import av

        try:
            frames: list[AudioFrame] = packet.decode()  # type: ignore[assignment]
        except av.error.FFmpegError as error:
            if not bytes(packet)[: len(_TAGS[-1])].startswith(_TAGS):
                self._findings.damaged(self._position, f"damaged ({_reason(error)})")
            return []
        if packet.is_corrupt and self._position and self._container.format.name in _LOSSY:
            self._findings.damaged(self._position, "damaged (an incomplete packet)")
        return frames

    def _place(self, packet: Packet[Stream]) -> None:
        """Record the time of another stream's packet."""
        if self._timed and packet.dts is not None and packet.time_base:
            length = float((packet.duration or 0) * packet.time_base)
            self._timeline.place(packet.stream.index, float(packet.dts * packet.time_base), length)

    def _placed(self, frame: AudioFrame) -> Blocks:
        """Place a frame on the timeline: with silence before it for a gap, and without the part before the last end."""
        rate = frame.sample_rate
        samples = self._samples(frame)
        at = self._position
        if self._timed and frame.pts is not None and frame.time_base:
            length = len(samples) / rate
            at = self._timeline.place(self._stream.index, float(frame.pts * frame.time_base), length)
            if any(begin <= at + length / 2 < end for begin, end in self._empty):
                return
        missing = round((at - self._position) * rate)
        if missing > _NEAR_S * rate:
            self._note_hole(missing / rate)
            yield from self._silence(missing, rate, samples.shape[1])
        elif -_OVERLAP_S * rate <= missing < -_NEAR_S * rate:
            samples = samples[-missing:]
        self._position += len(samples) / rate
        self._timeline.end = max(self._timeline.end, self._position)
        if len(samples):
            yield rate, samples

    def _note_hole(self, seconds: float) -> None:
        """Note sound that is missing. The wait for the first sound is no hole; lost packets are damage."""
        if self._holes_are_damage and (self._position or self._container.format.name == "flac"):
            self._findings.damaged(self._position, f"damaged ({seconds:.1f} s are missing)")
        elif self._position and not self._empty and seconds > _LONG_HOLE_S:
            self._holes_s += seconds
            self._first_hole = self._position if self._first_hole is None else self._first_hole

    def _silence(self, length: int, rate: int, channels: int) -> Blocks:
        import numpy as np

        for start in range(0, length, _SILENCE):
            yield rate, np.zeros((min(_SILENCE, length - start), channels), np.float32)
        self._position += length / rate

    def _samples(self, frame: AudioFrame) -> np.ndarray:
        """float32 [n, channels] of a frame, whatever its form."""
        import av
        import numpy as np

        form = frame.format.name, frame.layout.name, frame.sample_rate
        if not self._resampler or form != self._resampled:
            self._resampler, self._resampled = av.AudioResampler(format="fltp"), form
        pts = frame.pts
        converted = [part.to_ndarray().T for part in self._resampler.resample(frame)]
        frame.pts = pts
        return np.concatenate(converted) if converted else np.empty((0, frame.layout.nb_channels), np.float32)

    def _check_length(self) -> None:
        import av

        stream = self._stream
        if self._cut:
            self._findings.damaged(self._position, "cut off")
        if self._container.format.name.startswith("mov") and stream.duration and stream.time_base:
            promised = float(((stream.start_time or 0) + stream.duration) * stream.time_base) - self._origin
            there = self._position
            wrong = _CUT_S
        elif self._container.format.name in _LENGTH_IN_HEADER and self._container.duration:
            promised = self._container.duration / av.time_base
            there = max(self._position, self._timeline.end) + self._origin
            wrong = _LENGTH_IN_HEADER[self._container.format.name]
        else:
            return
        if there < promised - wrong:
            self._findings.damaged(there, f"cut off (the header gives a length of {clock(promised, 1)})")


def _reason(error: FFmpegError) -> str:
    return (error.strerror or type(error).__name__).lower()
