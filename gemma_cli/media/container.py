"""Videos and compressed sound through ffmpeg's libraries (PyAV, the extra `video`).

PyAV gets a file handle and a list of plain containers. Without the list a playlist (HLS, concat) would be followed to
whatever files and addresses it names.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.core.errors import InputError
from gemma_cli.media.sound.links import Slice

if TYPE_CHECKING:
    from av.container import InputContainer

_CONTAINERS = ",".join(
    (
        "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,asf,mxf,nut,rm,dv,gxf,wtv",  # videos
        "aac,loas,ac3,eac3,dts,dtshd,truehd,mlp,mp3,flac,amr,amrnb,amrwb",  # bare streams
        "wav,w64,aiff,caf,au,voc,wv,tta,ape,tak,mpc,mpc8,dsf",
    )
)
"""Formats that contain their media; none of them refers to another file."""

EXTRA = "pip install 'gemma-cli[video]'"


def available() -> bool:
    """Return whether the extra is installed."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def _sought_safely(file: BinaryIO) -> Slice:
    """The file for ffmpeg, which seeks to before its beginning where damage misleads it."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return Slice(file, 0, size, str(getattr(file, "name", "")))


@contextmanager
def open_container(file: BinaryIO, name: str) -> Iterator[InputContainer]:
    """The opened container; whatever ffmpeg's libraries complain of, inside the block too, becomes an InputError."""
    import av

    try:
        opened = av.open(_sought_safely(file), "r", metadata_errors="ignore", options={"format_whitelist": _CONTAINERS})
    except av.error.FFmpegError:
        raise InputError(
            f"{name}: not sound or video in a supported format, or incomplete; "
            "convert the file: ffmpeg -i FILE out.wav (for video: out.mp4)"
        ) from None
    try:
        with opened as container:
            yield container
    except av.error.FFmpegError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise InputError(f"{name}: the file is damaged or incomplete ({reason}); copy the file again") from None


def shows_pictures(file: BinaryIO, name: str) -> bool:
    """Return whether a container is a video; the cover of an album does not count. Raises InputError where there is
    neither."""
    import av

    with open_container(file, name) as container:
        moving = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not moving and not container.streams.audio:
            raise InputError(f"{name}: the file has no pictures and no sound")
        return bool(moving)
