"""Drawings and documents as pictures: SVG through resvg, PDF pages through pdfium (both of the extra `pictures`)."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.media.pictures.image import EXTRA

if TYPE_CHECKING:
    import numpy as np

_PIXELS = 2_600_000  # of a rendered page: what the largest budget shows
_LONGEST = 8192  # pixels of a side
_MOST_SVG = 16 << 20  # bytes
_HEAD = 4096
_MOST_PAGES = 2000
_LINKED = ("href", "{http://www.w3.org/1999/xlink}href")


def pages(file: BinaryIO, name: str) -> tuple[int, Iterator[np.ndarray]] | None:
    """Return how many pages an SVG or PDF has, and their pixels, uint8 [height, width, 3]; None for other files.

    The file is left at its beginning. Raises InputError, and UsageError where the extra is not installed.
    """
    head = file.read(_HEAD)
    file.seek(0)
    if b"%PDF-" in head[:1024]:
        return _pdf(file, name)
    if _is_svg(head):
        return 1, iter([_svg(file, name)])
    return None


def _is_svg(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n")
    return text.startswith("<") and re.search(r"<(?:\w+:)?svg[\s>]", text) is not None


def _pdf(file: BinaryIO, name: str) -> tuple[int, Iterator[np.ndarray]]:
    try:
        import pypdfium2
    except ImportError:
        raise UsageError(f"{name}: PDF pages need pypdfium2, which is not installed: {EXTRA}") from None
    try:
        document = pypdfium2.PdfDocument(file)
        return min(_MOST_PAGES, len(document)), _pdf_pages(document, name)
    except pypdfium2.PdfiumError as error:
        locked = "password" in str(error).lower()
        reason = (
            "locked with a password; save a copy without a password"
            if locked
            else "damaged or incomplete; copy the file again"
        )
        raise InputError(f"{name}: the PDF is {reason}") from None


def _pdf_pages(document: object, name: str) -> Iterator[np.ndarray]:
    import numpy as np
    import pypdfium2

    try:
        for number in range(min(_MOST_PAGES, len(document))):  # type: ignore[arg-type]
            page = document[number]  # type: ignore[index]
            width, height = page.get_size()
            scale = min((_PIXELS / max(1.0, width * height)) ** 0.5, _LONGEST / max(width, height, 1.0))
            bitmap = page.render(scale=scale, rev_byteorder=True)
            yield np.ascontiguousarray(bitmap.to_numpy()[..., :3])
            bitmap.close()
            page.close()
    except pypdfium2.PdfiumError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{name}: a page of the PDF is damaged ({reason}); copy the file again") from None


def _svg(file: BinaryIO, name: str) -> np.ndarray:
    try:
        import resvg_py
    except ImportError:
        raise UsageError(
            f"{name}: SVG drawings need an extra package: {EXTRA}; or convert the drawing to PNG"
        ) from None
    import numpy as np
    import PIL.Image as pillow

    content = file.read(_MOST_SVG + 1)
    if len(content) > _MOST_SVG:
        raise InputError(f"{name}: the SVG drawing is larger than {_MOST_SVG >> 20} MiB; convert the drawing to PNG")
    try:
        root = ElementTree.fromstring(content)
        width, height = _size(root)
        drawn = resvg_py.svg_to_bytes(svg_string=_alone(root), background="#ffffff", width=width, height=height)
        with pillow.open(io.BytesIO(drawn), formats=("PNG",)) as picture:
            return np.asarray(picture.convert("RGB"))
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{name}: the SVG drawing is damaged ({reason}); copy the file again") from None


def _alone(root: ElementTree.Element) -> str:
    """Return the drawing without what it links to: other files and addresses are never read."""
    for element in root.iter():
        for name in _LINKED:
            if not element.get(name, "#").lstrip().startswith(("#", "data:")):
                del element.attrib[name]
    return ElementTree.tostring(root, encoding="unicode")


def _size(root: ElementTree.Element) -> tuple[int, int]:
    """Return the width and height to draw at: the drawing's own proportions, about _PIXELS in all."""
    box = re.findall(r"[-+]?[\d.]+(?:e[-+]?\d+)?", root.get("viewBox", ""))
    sides = [re.fullmatch(r"\s*([\d.]+)(?:px|pt|mm|cm|in|pc)?\s*", root.get(side, "")) for side in ("width", "height")]
    found = [float(side[1]) for side in sides if side]
    if len(found) < 2:
        found = [float(side) for side in box[2:4]]
    width, height = found if len(found) == 2 and min(found) > 0 else (1.0, 1.0)
    scale = min((_PIXELS / (width * height)) ** 0.5, _LONGEST / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
