"""The colours of a picture as they are to be seen: 8 bits of sRGB for each channel, nothing transparent.

Goes strip by strip: conversions of all of it at once would take several times the memory of the picture.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gemma_cli.core.errors import InputError
from gemma_cli.media.pictures import image_memory

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image

_STRIP = 1 << 20  # pixels converted at a time
_HIDDEN = 32  # alpha up to which a pixel is not seen
_BRIGHT = 230  # of each channel, from which a pixel is lost on white
_NEARLY_ALL = 0.98
_TWELVE_BITS = 1 << 12
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of ICC profiles, and the modes they belong to


def rgb(picture: PIL.Image.Image, name: str) -> np.ndarray:
    """Return uint8 [height, width, 3] of a loaded picture, half as wide and high if it has more than FULL pixels.

    Raises InputError for measurements that are no picture.
    """
    import numpy as np

    width, height = picture.size
    factor = 2 if width * height > image_memory.FULL else 1
    pixels = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    conversion = _conversion(picture, name)
    for top, strip in _strips(picture):
        seen = conversion(strip)
        part = np.asarray(seen.reduce(factor) if factor > 1 else seen)
        pixels[top // factor : top // factor + len(part)] = part
    return pixels


def _strips(picture: PIL.Image.Image) -> Iterator[tuple[int, PIL.Image.Image]]:
    width, height = picture.size
    rows = max(2, _STRIP // width // 2 * 2)  # even, so that strips are halved as the whole would be
    for top in range(0, height, rows):
        yield top, picture.crop((0, top, width, min(top + rows, height)))


@dataclass(frozen=True)
class _Conversion:
    """How the strips of one picture become RGB. shift: bits of 16 to leave out; ground: what shows through it."""

    shift: int | None
    ground: str | None
    profile: Any

    def __call__(self, strip: PIL.Image.Image) -> PIL.Image.Image:
        import numpy as np
        import PIL.Image as pillow

        if self.shift is not None:
            strip = pillow.fromarray((np.asarray(strip) >> self.shift).astype(np.uint8))
        if self.ground is None:
            return self._in_srgb(strip)
        rgba = strip.convert("RGBA")
        seen = self._in_srgb(strip if strip.mode == "RGB" else rgba.convert("RGB"))
        seen.putalpha(rgba.getchannel("A"))
        return pillow.alpha_composite(pillow.new("RGBA", seen.size, self.ground), seen).convert("RGB")

    def _in_srgb(self, strip: PIL.Image.Image) -> PIL.Image.Image:
        if self.profile is None:
            return strip.convert("RGB")
        from PIL import ImageCms

        source, transform = self.profile
        seen = ImageCms.applyTransform(strip if strip.mode == source else strip.convert(source), transform)
        assert seen is not None
        return seen


def _conversion(picture: PIL.Image.Image, name: str) -> _Conversion:
    if picture.mode in ("I", "F"):
        raise InputError(f"{name}: the picture has 32 bits per channel; convert the picture to 8 bits per channel")
    deep = picture.mode.startswith("I;16")
    transparent = picture.has_transparency_data and not deep
    return _Conversion(
        shift=_shift(picture) if deep else None,
        ground=_ground(picture) if transparent else None,
        profile=None if deep else _profile(picture, transparent),
    )


def _shift(picture: PIL.Image.Image) -> int:
    """How far 16-bit grey is shifted: cameras and scanners that measure 12 bits leave the upper four at zero."""
    import numpy as np

    most = max(int(np.asarray(strip).max()) for _, strip in _strips(picture))
    return 8 if most >= _TWELVE_BITS else 4 if most > 255 else 0


def _ground(picture: PIL.Image.Image) -> str:
    """White, or black for what would be lost on it, as white letters on nothing are."""
    import numpy as np

    hidden = seen = bright = 0
    for _, strip in _strips(picture):
        pixels = np.asarray(strip.convert("RGBA"))
        visible = pixels[..., 3] > _HIDDEN
        hidden += visible.size - int(visible.sum())
        seen += int(visible.sum())
        bright += int((visible & (pixels[..., :3].min(axis=-1) >= _BRIGHT)).sum())
    return "black" if hidden and seen and bright >= _NEARLY_ALL * seen else "white"


def _profile(picture: PIL.Image.Image, transparent: bool) -> tuple[str, Any] | None:
    """The mode that the colours of a picture are to be in, and the transform from there to sRGB.

    None for pictures in sRGB; a profile that is damaged or belongs to other colours counts as none.
    """
    from PIL import ImageCms

    embedded = picture.info.get("icc_profile")
    if not isinstance(embedded, bytes) or not embedded:
        return None
    mode = {"P": "RGB", "RGBA": "RGB", "PA": "RGB", "LA": "L", "1": "L"}.get(picture.mode, picture.mode)
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        if "srgb" in (profile.profile.profile_description or "").lower():
            return None
        if _SPACES.get(profile.profile.xcolor_space.strip()) != mode or (transparent and mode != "RGB"):
            return None
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        return mode, ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", intent)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
