"""The pictures in a file, whatever it takes to see them: photographs as they are read, drawings and documents drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from gemma_cli.media.pictures import image, rendered
from gemma_cli.media.pictures.image import Picture


def pictures_in(file: BinaryIO, name: str) -> Iterator[Picture]:
    """Yield the pictures in an open file, page by page; each is read when it is asked for. Raises InputError.

    Raises UsageError where a format takes an extra that is not installed.
    """
    drawn = rendered.pages(file, name)
    if drawn is None:
        yield from image.pictures_in(file, name)
        return
    several, pages = drawn
    for number, pixels in enumerate(pages, 1):
        height, width, _ = pixels.shape
        yield Picture(image.from_pixels(pixels, name), width, height, 1, number if several > 1 else None)
