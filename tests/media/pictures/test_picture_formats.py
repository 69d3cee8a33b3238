"""What a picture shows, whatever it is stored as: pages, depths, colours, and formats that take an extra."""

from __future__ import annotations

import io
import sys

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms

from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.media.pictures import colour
from gemma_cli.media.pictures.animation import MOST_FRAMES, animation_in
from gemma_cli.media.pictures.pages import pictures_in
from gemma_cli.media.recognize import recognize

RED, BLUE = (220, 30, 35), (30, 70, 210)


def two(left=RED, right=BLUE, size=(48, 32)):
    pixels = np.empty((size[1], size[0], 3), np.uint8)
    pixels[:, : size[0] // 2], pixels[:, size[0] // 2 :] = left, right
    return PIL.Image.fromarray(pixels)


def stored(picture, form, **options):
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def seen(content, name="a"):
    return list(pictures_in(io.BytesIO(content), name))


def corners(content):
    (one,) = seen(content)
    return one.image.pixels[2, 2], one.image.pixels[2, -3]


def near(pixel, wanted, by=12):
    return np.abs(pixel.astype(int) - wanted).max() <= by


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "AVIF", "TIFF"])
def test_size_and_orientation_are_those_of_the_file_upright(form, orientation):
    exif = PIL.Image.Exif()
    exif[274] = orientation
    (one,) = seen(stored(two(), form, exif=exif))
    assert (one.width, one.height) == ((48, 32) if orientation < 5 else (32, 48))
    assert one.image.pixels.shape == (one.height, one.width, 3)
    assert one.orientation == orientation


def test_avif_is_a_picture_wherever_it_is_attached():
    content = stored(two(), "AVIF", quality=95)
    left, right = corners(content)
    assert near(left, RED)
    assert near(right, BLUE)
    assert recognize(io.BytesIO(content), "a.avif") == "image"
    assert recognize(io.BytesIO(HEIC), "a.heic") == recognize(io.BytesIO(JXL), "a.jxl") == "image"


def test_each_page_of_a_tiff_but_no_thumbnails():
    pages = [two(), two(BLUE, RED), two(RED, RED)]
    found = seen(stored(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert [page.page for page in found] == [1, 2, 3]
    assert [tuple(page.image.pixels[2, 2]) for page in found] == [RED, BLUE, RED]
    assert [page.page for page in seen(stored(two(), "TIFF"))] == [None]


def test_a_damaged_page_does_not_take_the_ones_before_it():
    pages = [two(size=(480, 320)), two(BLUE, RED, (480, 320))]
    content = stored(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    reading = pictures_in(io.BytesIO(content[:-600]), "scan.tiff")
    assert next(reading).page in (1, None)
    with pytest.raises(InputError, match=r"scan\.tiff"):
        list(reading)


@pytest.mark.parametrize(("most", "shown"), [(4095, 255), (65535, 255), (255, 255), (2048, 128), (40000, 156)])
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_of_12_bits_in_16_is_as_bright_as_it_was(form, most, shown):
    pixels = np.zeros((16, 16), np.uint16)
    pixels[:, 8:] = most
    (one,) = seen(stored(PIL.Image.fromarray(pixels), form))
    assert one.image.pixels[0, 0].tolist() == [0, 0, 0]
    assert one.image.pixels[0, 9].tolist() == [shown] * 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_white_on_nothing_is_seen_and_all_else_lies_on_white(mode):
    def letters(ink):
        pixels = np.zeros((32, 32, 4), np.uint8)
        pixels[8:24, 8:24] = (*ink, 255)
        picture = PIL.Image.fromarray(pixels, "RGBA")
        return stored(picture if mode == "RGBA" else picture.convert(mode), "PNG")

    for ink, ground in (((255, 255, 255), 0), ((0, 0, 0), 255), ((120, 120, 120), 255)):
        (one,) = seen(letters(ink))
        assert near(one.image.pixels[16, 16], ink), ink
        assert one.image.pixels[1, 1].tolist() == [ground] * 3, ink


def test_an_opaque_white_picture_stays_white():
    white = PIL.Image.new("RGBA", (8, 8), (255, 255, 255, 255))
    (one,) = seen(stored(white, "PNG"))
    assert (one.image.pixels == 255).all()


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_has_the_colours_it_is_printed_in(form):
    cyan = PIL.Image.new("CMYK", (32, 32), (255, 0, 0, 0))
    (one,) = seen(stored(cyan, form))
    red, green, blue = one.image.pixels[16, 16].astype(int)
    assert red < 60
    assert min(green, blue) > 150


def wide_profile():
    """XYZ: a profile in which the numbers of sRGB mean other colours."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()


def swapped(profile):
    """An sRGB profile whose red and blue primaries are swapped, under another name."""
    tags = {profile[i : i + 4]: i for i in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12)}
    out = bytearray(profile)
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    out[red + 4 : red + 12], out[blue + 4 : blue + 12] = profile[blue + 4 : blue + 12], profile[red + 4 : red + 12]
    return bytes(out).replace(b"s\0R\0G\0B", b"s\0W\0A\0P").replace(b"sRGB", b"sWAP")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_an_icc_profile_says_what_the_numbers_mean(mode):
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = two().convert(mode)
    left, right = corners(stored(picture, "PNG", icc_profile=swapped(plain)))
    assert left.argmax() == 2, "what was red by its numbers is blue"
    assert right.argmax() == 0
    left, right = corners(stored(picture, "PNG", icc_profile=plain))
    assert near(left, RED, 30), "a palette has the nearest colours only"


def test_a_profile_that_is_none_is_left_out():
    for profile in (b"not a profile" * 20, wide_profile()):
        left, right = corners(stored(two(), "PNG", icc_profile=profile))
        assert near(left, RED)
        assert near(right, BLUE)


def test_conversions_do_not_depend_on_the_strips(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (61, 47, 4), np.uint8)
    content = stored(PIL.Image.fromarray(pixels, "RGBA"), "PNG")
    (whole,) = seen(content)
    monkeypatch.setattr(colour, "_STRIP", 47 * 4)
    (parts,) = seen(content)
    assert (whole.image.pixels == parts.image.pixels).all()


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize(("count", "ms", "wanted", "last"), [(5, 400, 10, 1.8), (90, 500, 15, 42.0), (2, 100, 2, 0.1)])
def test_an_animation_is_a_short_video(form, count, ms, wanted, last):
    frames = [two((n * 50 % 256, 0, 0), (0, n * 90 % 256, n)) for n in range(count)]
    content = stored(frames[0], form, save_all=True, append_images=frames[1:], duration=ms)
    video = animation_in(io.BytesIO(content), "a")
    assert len(video.frames) <= MOST_FRAMES
    assert len(video.frames) >= wanted - 2
    assert video.seconds[0] == 0
    assert video.seconds[-1] == pytest.approx(last, abs=3.3)
    assert len(seen(content)) == 1, "without being asked its first picture"


def test_a_picture_that_does_not_move_is_no_animation():
    file = io.BytesIO(stored(two(), "GIF"))
    assert animation_in(file, "a") is None
    assert file.tell() == 0


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
JXL = b"\xff\x0a" + bytes(40)
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 10"></svg>'
PDF = b"%PDF-1.4\n" + bytes(40)


@pytest.mark.parametrize(
    ("content", "called", "module"),
    [
        (HEIC, "HEIC", "pillow_heif"),
        (JXL, "JPEG XL", "pillow_jxl"),
        (SVG, "SVG", "resvg_py"),
        (PDF, "PDF", "pypdfium2"),
    ],
)
def test_the_extra_is_named(monkeypatch, content, called, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"^a: .*{called}.*pip install 'gemma-cli\[pictures\]'") as caught:
        seen(content)
    assert not isinstance(caught.value, InputError)


@pytest.mark.parametrize("form", ["HEIF", "JXL"])
def test_photographs_with_the_extra(form):
    pytest.importorskip({"HEIF": "pillow_heif", "JXL": "pillow_jxl"}[form])
    import pillow_heif

    pillow_heif.register_heif_opener()
    exif = PIL.Image.Exif()
    exif[274] = 6
    (one,) = seen(stored(two(), form, exif=exif.tobytes(), quality=90))
    assert one.image.pixels.shape == (one.height, one.width, 3)
    assert (one.width < one.height) == (form == "HEIF"), "EXIF in JPEG XL says nothing"
    with pytest.raises(InputError, match="damaged"):
        seen(stored(two(size=(480, 320)), form, quality=90)[:400])


def test_drawings_with_the_extra(tmp_path):
    pytest.importorskip("resvg_py")
    two().save(tmp_path / "red.png")
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 20 10">'
        '<rect width="10" height="10" fill="blue"/>'
        f'<image xlink:href="{tmp_path}/red.png" width="20" height="10"/></svg>'
    )
    (one,) = seen(drawing.encode())
    assert one.width == pytest.approx(2 * one.height, abs=2)
    assert one.image.pixels[50, 50].tolist() == [0, 0, 255], "no other file is read"
    assert one.image.pixels[50, -50].tolist() == [255, 255, 255]
    for bad in (b'<svg viewBox="0 0 1 1"><rect</svg>', b'<svg xmlns="http://www.w3.org/2000/svg"'):
        with pytest.raises(InputError, match="SVG"):
            seen(bad)


def test_pages_of_a_document_with_the_extra():
    pytest.importorskip("pypdfium2")
    pages = [two(size=(480, 320)), two(BLUE, RED, (480, 320))]
    found = seen(stored(pages[0], "PDF", save_all=True, append_images=pages[1:]))
    assert [page.page for page in found] == [1, 2]
    assert near(found[1].image.pixels[50, 50], BLUE, 30)
    with pytest.raises(InputError, match="the PDF is damaged"):
        seen(PDF)
