import contextlib
import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from PIL import TiffImagePlugin

from gemma_cli.core.errors import InputError
from gemma_cli.media.pictures import colour, image_memory
from gemma_cli.media.pictures.image import read_image
from tests.soak.files import pictures

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


def of_mode(mode, size=(53, 41)):
    """A picture of random pixels; modes ending in t have a colour, or palette entries, that count as transparent."""
    rng = np.random.default_rng(3)
    options = {}
    if mode == "I;16":
        picture = PIL.Image.fromarray(rng.integers(0, 1 << 16, size[::-1], dtype=np.uint16))
    elif mode in ("RGBt", "Lt"):
        picture = PIL.Image.fromarray(rng.integers(0, 3, (*size[::-1], 3), np.uint8)).convert(mode[:-1])
        options = {"transparency": (1, 1, 1) if mode == "RGBt" else 1}
    else:
        picture = PIL.Image.fromarray(rng.integers(0, 256, (*size[::-1], 4), np.uint8), "RGBA")
        picture = picture.convert("RGB").convert(mode.rstrip("t")) if mode[0] in "1LPC" else picture.convert(mode)
        if mode == "Pt":
            options = {"transparency": bytes(range(256))}
    return picture, options


def over_white(picture):
    """The whole picture in one go."""
    if picture.mode == "I;16":
        picture = PIL.Image.fromarray((np.asarray(picture) // 256).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    rgba = picture.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


MODES = ("1", "L", "Lt", "LA", "P", "Pt", "RGB", "RGBt", "RGBA", "CMYK", "I;16")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("halved", [False, True])
def test_strip_by_strip_is_the_same_as_all_at_once(tmp_path, monkeypatch, mode, halved):
    picture, options = of_mode(mode)
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    picture.save(path, **options)
    if halved:
        monkeypatch.setattr(image_memory, "FULL", 53 * 41 - 1)
    with PIL.Image.open(path) as opened:
        expected = over_white(opened)
    expected = np.asarray(expected.reduce(2) if halved else expected)
    for strip in (1, 53 * 2, 53 * 7, 1 << 20):
        monkeypatch.setattr(colour, "_STRIP", strip)
        assert (read_image(path).pixels == expected).all()


@pytest.mark.parametrize("orientation", STORED)
def test_a_halved_picture_is_upright_too(tmp_path, monkeypatch, orientation):
    monkeypatch.setattr(image_memory, "FULL", 1000)
    exif = PIL.Image.Exif()
    exif[274] = orientation
    path = save(tmp_path / "a.png", np.ascontiguousarray(STORED[orientation](CORNERS)), exif=exif)
    pixels = read_image(path).pixels
    assert pixels.flags.c_contiguous
    assert (pixels == CORNERS[::2, ::2]).all()


def test_a_halved_jpeg_looks_like_the_whole(tmp_path, monkeypatch):
    smooth = np.add.outer(np.arange(101), np.arange(83)).astype(np.uint8)
    path = save(tmp_path / "a.jpg", np.dstack([smooth, smooth // 2, 255 - smooth]), quality=95)
    with PIL.Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB").reduce(2)).astype(int)
    monkeypatch.setattr(image_memory, "FULL", 5000)
    pixels = read_image(path).pixels
    assert pixels.shape == (51, 42, 3)
    assert np.abs(pixels - expected).max() <= 6


def foretold(path):
    with path.open("rb") as file, PIL.Image.open(file) as opened:
        return image_memory.decoding_memory(opened, file)


def test_jpegs_that_are_held_as_coefficients_are_known(tmp_path):
    """libjpeg holds 2 bytes for each coefficient of a picture that does not come in one scan."""
    picture, _ = of_mode("RGB", (64, 48))
    pixels = 64 * 48
    for name, options in {"one.jpg": {}, "grey.jpg": {}, "many.jpg": {"progressive": True}}.items():
        (picture.convert("L") if name == "grey.jpg" else picture).save(tmp_path / name, subsampling=0, **options)
    (tmp_path / "scans.jpg").write_bytes(pictures.separate_scans(picture))
    assert foretold(tmp_path / "one.jpg") == 4 * pixels + 3 * pixels
    assert foretold(tmp_path / "grey.jpg") == pixels + 3 * pixels
    assert foretold(tmp_path / "many.jpg") == foretold(tmp_path / "scans.jpg") == 4 * pixels + 6 * pixels
    assert read_image(tmp_path / "scans.jpg").pixels.shape == (48, 64, 3)
    picture.save(tmp_path / "half.jpg", subsampling=2, progressive=True)  # 4:2:0: half as many coefficients
    assert foretold(tmp_path / "half.jpg") == 4 * pixels + 3 * pixels


@pytest.mark.parametrize("extension", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
def test_what_would_take_too_much_memory_is_refused_before_it_is_decoded(tmp_path, monkeypatch, extension):
    path = save(tmp_path / f"a.{extension}")
    needed = foretold(path)
    monkeypatch.setattr(image_memory, "LIMIT", needed)
    assert read_image(path).pixels.shape == (32, 48, 3)
    monkeypatch.setattr(image_memory, "LIMIT", needed - 1)
    monkeypatch.setattr(PIL.Image.Image, "load", lambda _: pytest.fail("decoded"))
    with pytest.raises(InputError, match=rf"a\.{extension}: a \w+ picture of 0 million pixels needs too much memory"):
        read_image(path)


def test_the_largest_picture_takes_no_more_than_600_mb(tmp_path):
    """One of the kinds of tests/soak/files/pictures.py: of this one the pixels took 983 MB once."""
    PIL.Image.new("L", (9458, 9458)).save(tmp_path / "a.jpg")
    assert int(pictures.step("read", str(tmp_path / "a.jpg"))) < pictures.ALLOWED


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "jpeg", "group4"])
def test_libtiff_is_not_heard(tmp_path, capfd, compression):
    """Its lines went to descriptor 2, past Python and every setting."""
    rng = np.random.default_rng(5)
    picture = of_mode("1" if compression == "group4" else "RGB")[0]
    picture.save(tmp_path / "whole.tiff", compression=compression)
    whole = (tmp_path / "whole.tiff").read_bytes()
    for _ in range(20):
        data = bytearray(whole)
        for place in rng.integers(8, len(data), 4):
            data[place] = rng.integers(0, 256)
        (tmp_path / "a.tiff").write_bytes(data)
        with contextlib.suppress(InputError):
            read_image(tmp_path / "a.tiff")
    assert capfd.readouterr().err == ""


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
        (noise_png()[:4000], "damaged or incomplete"),
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
