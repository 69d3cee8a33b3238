"""A description written into a copy of a picture: as XMP, which leaves every byte of the pixels as it is.

dc:description is what IPTC Core calls Description, and what photo managers show as the caption.
"""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator

from gemma_cli.core.errors import InputError

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}"/></x:xmpmeta>'
_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_IN_PNG = b"XML:com.adobe.xmp\0"
_SEGMENT = 65_533  # bytes of a JPEG segment at most, its length left out
_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10  # of VP8X


def described(content: bytes, description: str, name: str) -> bytes:
    """Return a copy of a JPEG, PNG or WebP file with that description. Raises InputError for other files."""
    try:
        if content.startswith(b"\xff\xd8"):
            return _jpeg(content, description, name)
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(content, description)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp(content, description)
    except (ElementTree.ParseError, struct.error, IndexError, UnicodeDecodeError):
        raise InputError(
            f"{name}: the metadata of the picture is damaged, so the description cannot be written; convert the picture"
        ) from None
    raise InputError(f"{name}: descriptions can be written only into JPEG, PNG and WebP; convert the picture")


def _packet(old: bytes | None, description: str) -> bytes:
    """An XMP packet with the description, and with all else that the old one holds."""
    found = re.search(rb"<(?P<tag>[\w:]*xmpmeta|[\w:]*RDF)[\s>].*</(?P=tag)>", old or b"", re.DOTALL)
    root = ElementTree.fromstring(found[0].decode() if found else _EMPTY)
    for prefix, uri in re.findall(r'xmlns:(\w+)\s*=\s*["\']([^"\']+)', found[0].decode() if found else ""):
        if not re.fullmatch(r"ns\d+", prefix):
            ElementTree.register_namespace(prefix, uri)
    for prefix, uri in (("x", "adobe:ns:meta/"), ("rdf", _RDF), ("dc", _DC)):
        ElementTree.register_namespace(prefix, uri)
    rdf = root if root.tag == f"{{{_RDF}}}RDF" else next(iter(root.iter(f"{{{_RDF}}}RDF")))
    for about in rdf.findall(f"{{{_RDF}}}Description"):
        about.attrib.pop(f"{{{_DC}}}description", None)
        for before in about.findall(f"{{{_DC}}}description"):
            about.remove(before)
    holder = ElementTree.SubElement(rdf, f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""})
    choices = ElementTree.SubElement(ElementTree.SubElement(holder, f"{{{_DC}}}description"), f"{{{_RDF}}}Alt")
    ElementTree.SubElement(choices, f"{{{_RDF}}}li", {_LANG: "x-default"}).text = _printable(description)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{body}<?xpacket end="w"?>'.encode()


def _printable(text: str) -> str:
    """The text without what XML cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def _jpeg(content: bytes, description: str, name: str) -> bytes:
    at, old, kept = 2, None, bytearray(b"\xff\xd8")
    place = 2
    while content[at] == 0xFF and content[at + 1] in (*range(0xE0, 0xF0), 0xFE):
        length = struct.unpack_from(">H", content, at + 2)[0]
        segment = content[at : at + 2 + length]
        if segment[4:].startswith(_IN_JPEG):
            old = segment[4 + len(_IN_JPEG) :]
        else:
            kept += segment
            if content[at + 1] in (0xE0, 0xE1):
                place = len(kept)  # JFIF and EXIF stay first
        at += 2 + length
    body = _IN_JPEG + _packet(old, description)
    if len(body) > _SEGMENT:
        raise InputError(f"{name}: the metadata of the picture has no space left for the description")
    kept[place:place] = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
    return bytes(kept + content[at:])


def _png(content: bytes, description: str) -> bytes:
    out, old = [], None
    for kind, data, whole in _png_chunks(content):
        if kind == b"iTXt" and data.startswith(_IN_PNG):
            packed = data[len(_IN_PNG)]
            text = data[len(_IN_PNG) + 2 :].split(b"\0", 2)[2]
            old = zlib.decompressobj().decompress(text, 16 << 20) if packed else text
        else:
            out.append(whole)
    body = _IN_PNG + b"\0\0\0\0" + _packet(old, description)
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
    return content[:8] + out[0] + chunk + b"".join(out[1:])


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    at = 8
    while at + 8 <= len(content):
        length = struct.unpack_from(">I", content, at)[0]
        whole = content[at : at + 12 + length]
        yield whole[4:8], whole[8 : 8 + length], whole
        at += 12 + length


def _webp(content: bytes, description: str) -> bytes:
    chunks = list(_webp_chunks(content))
    old = next((data for kind, data in chunks if kind == b"XMP "), None)
    if chunks[0][0] != b"VP8X":
        chunks.insert(0, (b"VP8X", _extended(*chunks[0])))
    flags = chunks[0][1]
    chunks[0] = (b"VP8X", bytes([flags[0] | _XMP_FLAG]) + flags[1:])
    chunks = [chunk for chunk in chunks if chunk[0] != b"XMP "] + [(b"XMP ", _packet(old, description))]
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _webp_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(content):
        length = struct.unpack_from("<I", content, at + 4)[0]
        yield content[at : at + 4], content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _extended(kind: bytes, data: bytes) -> bytes:
    """The VP8X header of a file that has none: canvas size and whether there is alpha, from its only chunk."""
    if kind == b"VP8L":
        bits: int = struct.unpack_from("<I", data, 1)[0]
        width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bits >> 28 & 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 6))
        alpha = 0
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    header = bytes([_ALPHA_FLAG if alpha else 0, 0, 0, 0])
    return header + sizes
