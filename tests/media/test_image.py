import contextlib
import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from PIL import TiffImagePlugin

from gemma_cli.core.errors import InputError
from gemma_cli.media.image import read_image

# A corner of each colour, so that every one of the eight orientations looks different.
CORNERS = np.zeros((32, 48, 3), np.uint8)
CORNERS[:16, :24] = (255, 0, 0)
CORNERS[:16, 24:] = (0, 255, 0)
CORNERS[16:, :24] = (0, 0, 255)
CORNERS[16:, 24:] = (255, 255, 255)


def save(path, pixels=CORNERS, **options):
    PIL.Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
def test_every_format_becomes_rgb(tmp_path, extension):
    image = read_image(save(tmp_path / f"a.{extension}"))
    assert image.pixels.dtype == np.uint8
    assert image.pixels.shape == (32, 48, 3)
    difference = np.abs(image.pixels[4:-4:8, 4:-4:8].astype(int) - CORNERS[4:-4:8, 4:-4:8])
    assert difference.max() <= 40


# EXIF orientation: how the stored picture was made from the upright one (TIFF 6.0, tag 274).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("extension", ["png", "webp", "tiff"])
def test_orientation(tmp_path, extension, orientation):
    exif = PIL.Image.Exif()
    exif[274] = orientation
    options = {"exif": exif} | ({"lossless": True} if extension == "webp" else {})
    if extension == "tiff":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[274] = orientation
        options = {"tiffinfo": tags}
    stored = np.ascontiguousarray(STORED[orientation](CORNERS))
    assert (read_image(save(tmp_path / f"a.{extension}", stored, **options)).pixels == CORNERS).all()


def test_jpeg_orientation_is_that_of_the_camera(tmp_path):
    exif = PIL.Image.Exif()
    exif[274] = 6
    image = read_image(save(tmp_path / "a.jpg", np.ascontiguousarray(STORED[6](CORNERS)), exif=exif, quality=95))
    assert image.pixels.shape == CORNERS.shape
    assert image.pixels[4, 4].argmax() == 0


def test_damaged_exif_is_no_exif(tmp_path):
    path = save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 40)
    assert read_image(path).pixels.shape == CORNERS.shape


def test_transparency_is_laid_over_white(tmp_path):
    rgba = np.dstack([CORNERS, np.zeros((32, 48), np.uint8)])
    rgba[:, 24:, 3] = 255
    pixels = read_image(save(tmp_path / "a.png", rgba)).pixels
    assert (pixels[:, :24] == 255).all()
    assert (pixels[:, 24:] == CORNERS[:, 24:]).all()


def test_palette_transparency_is_laid_over_white(tmp_path):
    picture = PIL.Image.new("P", (4, 4), 0)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((0, 0), 1)
    picture.save(tmp_path / "a.gif", transparency=0)
    pixels = read_image(tmp_path / "a.gif").pixels
    assert tuple(pixels[0, 0]) == (40, 50, 60)
    assert tuple(pixels[1, 1]) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "RGBA"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    extension = "tiff" if mode == "CMYK" else "png"
    PIL.Image.new(mode, (5, 7)).save(tmp_path / f"a.{extension}")
    assert read_image(tmp_path / f"a.{extension}").pixels.shape == (7, 5, 3)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    grey = np.array([[0, 256, 32768, 65535]], np.uint16)
    assert read_image(save(tmp_path / "a.png", grey)).pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_the_first_frame_counts(tmp_path):
    first, second = PIL.Image.new("RGB", (4, 4), "red"), PIL.Image.new("RGB", (4, 4), "blue")
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert tuple(read_image(tmp_path / "a.gif").pixels[0, 0]) == (255, 0, 0)


def test_the_digest_is_of_size_and_pixels(tmp_path):
    one, same = read_image(save(tmp_path / "a.png")), read_image(save(tmp_path / "b.bmp"))
    assert one == same
    assert one != read_image(save(tmp_path / "c.png", CORNERS.reshape(48, 32, 3)))


def test_standard_input(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(save(tmp_path / "a.png").read_bytes())))
    image = read_image("-")
    assert image.name == "standard input"
    assert (image.pixels == CORNERS).all()


def png(width, height, depth=1, colour=0):
    """A PNG whose header promises that size, with a few bytes of data."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def postscript():
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


def noise_png():
    out = io.BytesIO()
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "empty"),
        (b"just text\n" * 20, "not a picture"),
        (postscript(), "not a picture"),
        (noise_png()[:4000], "damaged or cut off"),
        (noise_png()[:30], "not a picture"),
        (png(0, 5), "not a picture"),
        (b"GIF89a" + struct.pack("<HH", 0, 0) + b"\0\0\0;", "not a picture"),
        (png(13000, 13000), "million pixels"),
        (png(60000, 60000), "million pixels"),
    ],
    ids=["empty", "text", "eps", "cut", "stub", "no-width", "empty-gif", "bomb", "big-bomb"],
)
def test_bad_input_is_one_line_naming_the_file(tmp_path, data, complaint):
    path = tmp_path / "[b].png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"\[b\]\.png: .*({complaint})") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_measurements_are_not_pictures(tmp_path):
    with pytest.raises(InputError, match="32 bits"):
        read_image(save(tmp_path / "a.tiff", np.zeros((4, 4), np.float32)))


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
def test_damage_is_decoded_or_refused_never_anything_else(tmp_path, extension):
    whole = save(tmp_path / f"a.{extension}").read_bytes()
    rng = np.random.default_rng(2)
    path = tmp_path / f"damaged.{extension}"
    for _ in range(80):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 8)):
            data[rng.integers(0, min(len(data), 200))] = rng.integers(0, 256)
        path.write_bytes(data[: rng.integers(1, len(data) + 1)])
        with contextlib.suppress(InputError):
            assert read_image(path).pixels.shape[2] == 3
