"""Pictures on a terminal: as pixels where it shows them, through textual-image, and as half blocks elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

COLUMNS, ROWS = 40, 20
"""Cells of a thumbnail at most."""

_GRAPHICS = ("kitty", "ghostty", "iterm", "wezterm", "foot", "mlterm", "contour", "rio", "konsole")
"""Parts of the names of terminals that show pixels. Others are not asked: the answer may take what is being typed."""


def show(pixels: np.ndarray, console: Console) -> bool:
    """Print a thumbnail of uint8 [height, width, 3]; False, with nothing printed, where there is no terminal for it."""
    if not console.is_terminal or console.is_dumb_terminal or console.color_system is None:
        return False
    import PIL.Image as pillow

    picture = pillow.fromarray(pixels)
    columns, rows = _cells(picture.width, picture.height, console.width)
    picture.thumbnail((columns * 16, rows * 32))
    if graphics := _graphics():
        console.print(graphics(picture, width=columns, height=rows))
        return True
    for line in _half_blocks(picture.resize((columns, 2 * rows))):
        console.print(line, no_wrap=True, crop=True)
    return True


def _cells(width: int, height: int, room: int) -> tuple[int, int]:
    """Columns and rows of a picture: a cell is twice as high as it is wide."""
    columns = min(COLUMNS, max(1, room - 1))
    rows = height * columns / width / 2
    if rows > ROWS:
        columns, rows = max(1, round(columns * ROWS / rows)), ROWS
    return columns, max(1, round(rows))


def _graphics() -> Any:
    """How textual-image shows pixels here; None where the terminal or the extra does not."""
    named = " ".join(os.environ.get(name, "") for name in ("TERM", "TERM_PROGRAM", "LC_TERMINAL")).lower()
    if os.environ.get("TMUX") or not any(name in named for name in _GRAPHICS):
        return None
    try:
        from textual_image import renderable
    except ImportError:
        return None
    return renderable.Image if renderable.Image is not renderable.UnicodeImage else None


def _half_blocks(picture: PIL.Image.Image) -> Iterator[Text]:
    """Lines of cells, each with the colours of two pixels, one above the other."""
    import numpy as np

    for above, below in np.asarray(picture).reshape(-1, 2, picture.width, 3):
        line = Text()
        for upper, lower in zip(above.tolist(), below.tolist(), strict=True):
            line.append("▀", Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))
        yield line
