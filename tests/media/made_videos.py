"""Videos made for tests: sound at known times in any container, with the faults that videos have."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soxr

RATE = 16_000


@dataclass
class Track:
    """Sound of a video: (second, float [n] at RATE) stretches, between which its time stamps have a hole."""

    stretches: Sequence[tuple[float, np.ndarray]]
    codec: str = "aac"
    metadata: dict[str, str] = field(default_factory=dict)
    default: bool = False
    layout: str = "mono"
    rate: int | None = None


def make(
    path: Path, tracks: Sequence[Track], form: str | None = None, pictures_s: float = 0.0, first: float = 0.0
) -> Path:
    """Write a video. pictures_s: seconds of pictures, none for 0. first: seconds added to every time stamp."""
    with av.open(str(path), "w", format=form) as out:
        video = None
        if pictures_s:
            video = out.add_stream("mpeg4" if form not in ("mpegts", "mxf") else "mpeg2video", rate=25)
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
        sounds = [(track, _stream(out, track)) for track in tracks]
        packets = [packet for track, stream in sounds for packet in _encoded(track, stream, first)]
        if video:
            for number in range(round(pictures_s * 25)):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number % 200, np.uint8), "rgb24")
                frame.pts, frame.time_base = number + round(first * 25), Fraction(1, 25)
                packets += video.encode(frame)
            packets += video.encode(None)
        for packet in sorted(packets, key=lambda one: one.dts * one.time_base):
            out.mux(packet)
    return path


def _stream(out, track: Track):
    stream = out.add_stream(track.codec, rate=track.rate or 48_000, layout=track.layout, options={"strict": "-2"})
    if track.codec in ("wmav2", "dca"):
        stream.bit_rate = 384_000 if track.codec == "dca" else 96_000
    stream.metadata.update(track.metadata)
    if track.default:
        stream.disposition = av.stream.Disposition.default
    return stream


def _encoded(track: Track, stream, first: float):
    rate = stream.codec_context.sample_rate
    size = stream.codec_context.frame_size or 960
    convert = av.AudioResampler(format=stream.codec_context.format.name, layout=track.layout, rate=rate)
    for second, samples in track.stretches:
        sound = soxr.resample(samples, RATE, rate)
        begun = round((second + first) * rate)
        for start in range(0, len(sound), size):
            block = np.zeros(size, np.float32)
            block[: len(sound) - start] = sound[start : start + size]
            frame = av.AudioFrame.from_ndarray(block[None], format="flt", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), begun + start
            for converted in convert.resample(frame):
                converted.pts, converted.time_base = begun + start, Fraction(1, rate)
                yield from stream.encode(converted)
    yield from stream.encode(None)


def tones(*hertz: float, rate: int = RATE) -> np.ndarray:
    """A tone of 0.3 s in each second, 0.2 s after it begins, over a little noise."""
    samples = np.random.default_rng(0).normal(0, 0.003, rate * len(hertz))
    for second, pitch in enumerate(hertz):
        at = round((second + 0.2) * rate)
        samples[at : at + round(0.3 * rate)] += 0.5 * np.sin(2 * np.pi * pitch * np.arange(round(0.3 * rate)) / rate)
    return samples.astype(np.float32)


def heard(samples: np.ndarray) -> list[tuple[float, int]]:
    """(second, hertz to the nearest hundred) of each tone in float32 [n] at RATE."""
    size = RATE // 100
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    loud = np.sqrt(np.square(frames).mean(axis=1)) > 0.1
    edges = np.flatnonzero(np.diff(loud.astype(int), prepend=0, append=0))
    found = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        tone = samples[start * size : end * size]
        pitch = np.argmax(np.abs(np.fft.rfft(tone))) * RATE / len(tone)
        if end - start > 10:  # less is the edge of damage
            found.append((float(start / 100), round(pitch / 100) * 100))
    return found


def edit_sound(path: Path, edits: Sequence[tuple[float, float]]) -> None:
    """Give the sound track of an MP4 an edit list of (seconds, second of the sound or -1 for none).

    Its header has to be at the end of the file.
    """
    data = path.read_bytes()
    start, end = _box(data, 0, len(data), b"moov")
    moov = _edited(data[start:end], edits)
    path.write_bytes(data[:start] + moov + data[end:])


def _boxes(data: bytes, start: int, end: int):
    while start < end:
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        yield kind, start, start + size
        start += size


def _box(data: bytes, start: int, end: int, wanted: bytes) -> tuple[int, int]:
    return next((first, last) for kind, first, last in _boxes(data, start, end) if kind == wanted)


def _edited(box: bytes, edits: Sequence[tuple[float, float]]) -> bytes:
    """The moov box with another edit list in its sound track."""
    movie_scale = struct.unpack(">I", box[8 + 20 : 8 + 24])[0]
    body = b""
    for kind, start, end in _boxes(box, 8, len(box)):
        track = box[start:end]
        body += _edited_track(track, edits, movie_scale) if kind == b"trak" and b"smhd" in track else track
    return _packed(b"moov", body)


def _edited_track(track: bytes, edits: Sequence[tuple[float, float]], movie_scale: int) -> bytes:
    at = track.index(b"mdhd")
    scale = struct.unpack(">I", track[at + 16 : at + 20])[0]
    rows = [
        struct.pack(">IiI", round(shown * movie_scale), round(second * scale) if second >= 0 else -1, 1 << 16)
        for shown, second in edits
    ]
    listed = _packed(b"edts", _packed(b"elst", struct.pack(">II", 0, len(rows)) + b"".join(rows)))
    parts = [(kind, track[start:end]) for kind, start, end in _boxes(track, 8, len(track)) if kind != b"edts"]
    return _packed(b"trak", b"".join(part + (listed if kind == b"tkhd" else b"") for kind, part in parts))


def _packed(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body
