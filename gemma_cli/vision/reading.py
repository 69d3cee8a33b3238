"""Reads pictures that the command line names, with their facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gemma_cli.common.inputs import opened
from gemma_cli.core.messages import Image, Video
from gemma_cli.media.files import display_name


@dataclass(frozen=True)
class PictureFacts:
    """Facts about a picture.

    width, height: of the upright picture, in pixels.
    orientation: the EXIF value, 1 to 8.
    page: the page number, from 1, in a file of several pages.
    frames: the number of frames of an animation that is read as a video.
    """

    name: str
    width: int
    height: int
    orientation: int
    page: int | None = None
    frames: int | None = None

    @property
    def label(self) -> str:
        """Return the name for headings and messages."""
        return self.name if self.page is None else f"{self.name}, page {self.page}"


def read(path: str, quiet: bool, frames: bool) -> Iterator[tuple[PictureFacts, Image | Video]]:
    """Yield the pictures of a file, an address or standard input. Raises InputError.

    frames: whether to read an animation as a short video.
    """
    from gemma_cli.media.pictures.animation import animation_in
    from gemma_cli.media.pictures.pages import pictures_in

    name = display_name(path)
    with opened(path, quiet) as file:
        if frames and (video := animation_in(file, name)):
            height, width, _ = video.frames[0].pixels.shape
            yield PictureFacts(name, width, height, 1, frames=len(video.frames)), video
            return
        for picture in pictures_in(file, name):
            facts = PictureFacts(name, picture.width, picture.height, picture.orientation, picture.page)
            yield facts, picture.image
