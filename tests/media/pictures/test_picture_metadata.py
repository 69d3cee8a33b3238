"""Descriptions in copies of pictures: found by a reader, with the pixels and all other metadata as they were."""

from __future__ import annotations

import io
import re

import numpy as np
import PIL.Image
import pytest

from gemma_cli.core.errors import InputError
from gemma_cli.media.pictures.metadata import described

OLD = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" xmlns:dc="http://purl.org/dc/elements/1.1/">'
    b'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">what was said before</rdf:li></rdf:Alt></dc:description>'
    b'</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
TEXT = 'A <red> & "blue" square, größer als 日本\nand more\x00.'
EXIF = PIL.Image.Exif()
EXIF[274] = 6


def stored(form, mode="RGB", **options):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, len(mode)), np.uint8)
    out = io.BytesIO()
    PIL.Image.fromarray(pixels, mode).save(out, form, **options)
    return out.getvalue()


def opened(content):
    picture = PIL.Image.open(io.BytesIO(content))
    picture.load()
    return picture


def captions(content):
    xmp = opened(content).info["xmp"]
    return re.findall(r"<rdf:li xml:lang=\"x-default\">(.*?)</rdf:li>", xmp.decode(), re.DOTALL)


@pytest.mark.parametrize("old", [None, OLD])
@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("JPEG", "RGB", {"exif": EXIF}),
        ("JPEG", "RGB", {"progressive": True}),
        ("PNG", "RGBA", {"exif": EXIF}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"lossless": True, "exif": EXIF}),
    ],
)
def test_the_description_is_there_and_all_else_as_it_was(form, mode, options, old):
    content = stored(form, mode, **options, **({"xmp": old} if old and form != "PNG" else {}))
    if old and form == "PNG":
        content = described(content, "what was said before", "a")
    once = described(content, "first", "a")
    copy = described(once, TEXT, "a")
    assert captions(copy) == [TEXT.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\0", "�")]
    assert (np.asarray(opened(copy)) == np.asarray(opened(content))).all()
    assert opened(copy).getexif() == opened(content).getexif()
    assert b"what was said before" not in copy
    if old and form != "PNG":
        assert b'xmp:Rating="4"' in copy


def test_other_files_and_damaged_metadata_are_refused():
    with pytest.raises(InputError, match=r"^a\.gif: descriptions can be written only into JPEG, PNG and WebP"):
        described(stored("GIF"), "x", "a.gif")
    broken = stored("JPEG", xmp=OLD.replace(b"</dc:description>", b"</dc:descriptiox>"))
    with pytest.raises(InputError, match=r"^a\.jpg: the metadata of the picture is damaged"):
        described(broken, "x", "a.jpg")
    with pytest.raises(InputError, match="no space left"):
        described(stored("JPEG"), "x" * 70_000, "a.jpg")
