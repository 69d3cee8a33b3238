"""The largest pictures that are accepted, of each format and mode: the memory that reading them takes.

Its steps:

    python -m tests.soak.files.pictures make KIND MEGAPIXELS FILE
    python -m tests.soak.files.pictures read FILE
"""

import io
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.soak.outcome import Outcome

PROMISE = "The largest picture that is accepted takes at most 600 MB above the baseline, whatever its format and mode."
ALLOWED = 600_000_000  # bytes
MOST = 89.47  # million pixels, Pillow's own limit
KINDS = {
    "PNG 1": MOST,
    "PNG L": MOST,
    "PNG P": MOST,
    "PNG P transparent": MOST,
    "PNG LA": MOST,
    "PNG RGB": MOST,
    "PNG RGBA": MOST,
    "PNG I;16": MOST,
    "JPEG L": MOST,
    "JPEG RGB": MOST,
    "JPEG CMYK": MOST,
    "JPEG RGB progressive": MOST,
    "JPEG RGB progressive 444": 80.0,
    "JPEG CMYK progressive": 62.2,
    "JPEG RGB scans": 80.0,
    "WEBP RGB": 35.0,
    "WEBP RGBA": 35.0,
    "WEBP RGBA lossless": 35.0,
    "GIF P": MOST,
    "GIF P transparent": MOST,
    "BMP P": MOST,
    "BMP RGB": MOST,
    "TIFF L tiff_lzw": MOST,
    "TIFF RGB raw": MOST,
    "TIFF RGBA tiff_lzw": MOST,
    "TIFF RGB jpeg": MOST,
    "TIFF CMYK tiff_lzw": MOST,
    "TIFF RGB tiff_deflate strip": 78.0,
    "TIFF RGBA tiff_lzw strip": 63.0,
    "TIFF RGB raw turned": 69.9,
}
"""Megapixels of the largest that is accepted; where that is not MOST, one of 3 % more is refused."""


def trial(scale: float) -> Outcome:
    """Read the largest of each kind, its area scaled, each in a process of its own."""
    failures, worst = [], (0, "")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "picture")
        for kind, megapixels in KINDS.items():
            step("make", kind, str(megapixels * scale), path)
            found = step("read", path)
            if not found.isdecimal() or int(found) > ALLOWED:
                failures.append(f"{kind}: {found}")
            worst = max(worst, (int(found) if found.isdecimal() else 0, kind))
            if megapixels < MOST and scale == 1:
                step("make", kind, str(megapixels * 1.03), path)
                if (found := step("read", path)).isdecimal():
                    failures.append(f"{kind}: of 3 % more pixels is accepted too, and takes {found}")
    return Outcome(len(KINDS), failures, f"At most {worst[0] / 1e6:.0f} MB above the baseline ({worst[1]}).")


def step(*arguments: str) -> str:
    """Run one of the steps in a process of its own; returns what it prints."""
    command = [sys.executable, "-m", "tests.soak.files.pictures", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip()


def make(kind: str, megapixels: float, path: str) -> None:
    """Write a picture with large areas of one colour, which pack well."""
    import numpy as np
    import PIL.Image as pillow

    pillow.MAX_IMAGE_PIXELS = None
    form, mode, *options = kind.split()
    width = int(min((megapixels * 1e6) ** 0.5, 16000))
    height = int(megapixels * 1e6 / width)
    steps = (np.add.outer(np.arange(height) // 97, np.arange(width) // 89)).astype(np.uint16)
    if mode == "1":
        picture = pillow.fromarray(steps % 2 > 0)
    elif mode == "I;16":
        picture = pillow.fromarray(steps * 97)
    elif mode in ("L", "P"):
        picture = pillow.fromarray(steps.astype(np.uint8))
        if mode == "P":
            picture.putpalette(bytes(range(256)) * 3)
    else:
        bands = [pillow.fromarray((steps * (band + 1)).astype(np.uint8)) for band in range(len(mode))]
        picture = pillow.merge(mode, bands)
    if "scans" in options:
        Path(path).write_bytes(separate_scans(picture))
        return
    picture.save(path, form, **_options(form, mode, options, height))


def _options(form: str, mode: str, options: list[str], height: int) -> dict[str, object]:
    chosen: dict[str, object] = {}
    if "transparent" in options:
        chosen["transparency"] = bytes([128] * 256) if form == "PNG" else 3
    if form == "PNG":
        chosen["compress_level"] = 1
    if form == "WEBP":
        chosen |= {"method": 0, "lossless": "lossless" in options}
    if form == "JPEG":
        chosen |= {"progressive": "progressive" in options} | ({"subsampling": 0} if "444" in options else {})
    if form == "TIFF":
        chosen["compression"] = options[0]
        if "strip" in options:
            chosen |= {"strip_size": 1 << 31, "tiffinfo": {278: height}}
        if "turned" in options:
            chosen["tiffinfo"] = {274: 6}
    return chosen


def separate_scans(picture: object) -> bytes:
    """A baseline JPEG of an RGB picture with a scan for each component, which libjpeg holds as coefficients."""
    parts = []
    for band in picture.split():  # type: ignore[attr-defined]
        out = io.BytesIO()
        band.save(out, "JPEG", quality=75)
        parts.append(out.getvalue())
    segments, scans = b"", b""
    for number, part in enumerate(parts, 1):
        place = 2
        while part[place + 1] != 0xDA:
            end = place + 2 + int.from_bytes(part[place + 2 : place + 4], "big")
            if number == 1 and part[place + 1] == 0xC0:
                size = part[place + 5 : place + 9]
                components = b"".join(bytes([n, 0x11, 0]) for n in (1, 2, 3))
                segments += b"\xff\xc0" + struct.pack(">HB", 17, 8) + size + b"\x03" + components
            elif number == 1:
                segments += part[place:end]
            place = end
        header_end = place + 2 + int.from_bytes(part[place + 2 : place + 4], "big")
        scans += b"\xff\xda\x00\x08\x01" + bytes([number, 0x00, 0, 63, 0]) + part[header_end:-2]
    return b"\xff\xd8" + segments + scans + b"\xff\xd9"


def read(path: str) -> str:
    """Bytes at the highest above the memory of a process that has read a small picture, or why it is refused."""
    import PIL.Image as pillow

    from gemma_cli.core.errors import InputError
    from gemma_cli.media.pictures.image import read_image

    with tempfile.TemporaryDirectory() as folder:
        small = str(Path(folder) / "small.png")
        pillow.new("RGB", (8, 8)).save(small)
        read_image(small)
    before = _kilobytes("VmRSS")
    try:
        read_image(path)
    except InputError as error:
        return str(error)
    return str((_kilobytes("VmHWM") - before) * 1024)


def _kilobytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], float(sys.argv[3]), sys.argv[4])
    else:
        print(read(sys.argv[2]))
