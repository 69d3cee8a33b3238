"""Images, videos and sound in the bodies of requests."""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Semaphore
from typing import BinaryIO

from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.core.messages import Audio, Image, Video
from gemma_cli.media.audio import audio_in
from gemma_cli.media.fetching.fetch import fetch, is_address
from gemma_cli.media.pictures.image import image_in
from gemma_cli.media.spool import spooled
from gemma_cli.media.video import video_in

_FILMS = Semaphore(2)  # so many are decoded at once: the frames of one can take 180 MB before they are scaled


def image(url: str, name: str, may_fetch: bool) -> Image:
    """Decode the image of a data: URL, or of an address where that is allowed. Raises InputError."""
    with _opened(url, name, may_fetch, "image/png") as file:
        return image_in(file, name)


def video(url: str, name: str, may_fetch: bool) -> Video:
    """Read the frames that `gemma describe-video` shows the model of a video. Raises InputError."""
    with _opened(url, name, may_fetch, "video/mp4") as file, _FILMS:
        try:
            return video_in(file, name)
        except UsageError as error:  # the reader of videos is not installed
            raise InputError(str(error)) from None


def audio(data: str, name: str) -> Audio:
    """Decode sound of at most 30 s from base64. Raises InputError."""
    with spooled(_decoded(data, name)) as file:
        return audio_in(file, name)


@contextmanager
def _opened(url: str, name: str, may_fetch: bool, kind: str) -> Iterator[BinaryIO]:
    if is_address(url):
        if not may_fetch:
            raise InputError(f"{name}: this server downloads no URLs; send the data itself as data:{kind};base64,...")
        with fetch(url) as file:
            yield file
        return
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        raise InputError(f"{name}: not a data: URL; give the data as data:{kind};base64,...")
    with spooled(_decoded(data, name)) as file:
        yield file


def _decoded(data: str, name: str) -> bytes:
    try:
        content = binascii.a2b_base64("".join(data.split()), strict_mode=True)
    except ValueError as error:  # binascii.Error, and characters that are not ASCII
        raise InputError(f"{name}: not base64 ({error})") from None
    if not content:
        raise InputError(f"{name}: empty (0 bytes)")
    return content
