"""The choice of a video's sound track, and the notice about the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.media.sound.findings import Findings
from gemma_cli.text.languages import language

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.stream import Stream


def chosen(container: InputContainer, name: str, wanted: str | None, findings: Findings) -> AudioStream:
    """Choose a sound track: by number from 1 or by language, else the default one, else the first.

    Raises InputError where there is none.
    """
    tracks = list(container.streams.audio)
    if not tracks:
        if any(not is_picture(stream) for stream in container.streams.video):
            raise InputError(f"{name}: the video has no sound track to transcribe; give a file with sound")
        raise InputError(f"{name}: the file has no sound; give a file with sound")
    if wanted:
        track = _wanted(tracks, wanted, name)
        if not track.codec_context:
            raise InputError(
                f"{name}: track {track_label(tracks, track)} has an unsupported codec; choose another --track"
            )
        return track
    decodable = [track for track in tracks if track.codec_context]
    if not decodable:
        raise InputError(f"{name}: the sound has an unsupported codec; convert the file: ffmpeg -i FILE out.wav")
    track = next((track for track in decodable if _is_default(track)), decodable[0])
    if len(tracks) > 1:
        others = ", ".join(track_label(tracks, other) for other in tracks if other is not track)
        findings.remark(
            f"of {len(tracks)} sound tracks, gemma reads track {track_label(tracks, track)}, not {others} "
            "(to read another track, give --track)"
        )
    return track


def is_picture(stream: Stream) -> bool:
    """Return whether a video stream is an album cover."""
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)


def _is_default(track: AudioStream) -> bool:
    from av.stream import Disposition

    return bool(track.disposition & Disposition.default)


def track_label(tracks: list[AudioStream], track: AudioStream) -> str:
    """Number, language and title of a track, such as `2 (German, "Commentary")`."""
    title = track.metadata.get("title")
    parts = [_language_name(track), f'"{title}"' if title else None]
    described = ", ".join(part for part in parts if part)
    return f"{tracks.index(track) + 1}{f' ({described})' if described else ''}"


def _wanted(tracks: list[AudioStream], wanted: str, name: str) -> AudioStream:
    wanted = wanted.strip()
    if wanted.isdecimal():
        found = tracks[int(wanted) - 1 :][:1] if int(wanted) else []
    else:
        asked = _code(wanted)
        found = [track for track in tracks if track.language and _code(track.language) == asked]
    if not found:
        there = ", ".join(track_label(tracks, track) for track in tracks)
        raise InputError(f"{name}: --track {wanted} does not exist; the file has the sound tracks {there}")
    return next((track for track in found if _is_default(track)), found[0])


def _language_name(track: AudioStream) -> str | None:
    tag = track.language
    if not tag or tag == "und":
        return None
    try:
        return language(tag).name
    except UsageError:
        return tag


def _code(tag: str) -> str:
    """Return one code for all names of a language: "ger", "deu", "de-AT" and "German" are "de"."""
    try:
        return language(tag).code.partition("-")[0]
    except UsageError:
        return tag.casefold()
