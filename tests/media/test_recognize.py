"""What a file is, by its content: any name, from any folder, on standard input or at an address."""

from __future__ import annotations

import contextlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import soundfile

from gemma_cli.common.attachments import attachment
from gemma_cli.core.errors import GemmaError, InputError, UsageError
from gemma_cli.core.messages import Audio, Image, Text, Video
from gemma_cli.media import container, recognize
from tests.media.pdf_file import pdf

SOUND = 0.1 * np.sin(np.arange(8000) / 10).astype(np.float32)


def picture(kind: str) -> bytes:
    content = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), "red").save(content, kind)
    return content.getvalue()


def sound(kind: str) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, SOUND, 16_000, format=kind)
    return content.getvalue()


def video(kind: str, pictures: bool = True) -> bytes:
    av = pytest.importorskip("av")
    content = io.BytesIO()
    with av.open(content, "w", format=kind) as written:
        if pictures:
            stream = written.add_stream("mpeg4" if kind != "webm" else "libvpx", rate=2)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            frames = [av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")] * 4
        else:
            stream = written.add_stream("aac", rate=16_000)
            stream.layout = "mono"
            frame = av.AudioFrame.from_ndarray(np.tile(SOUND, 2)[None, :], format="fltp", layout="mono")
            frame.sample_rate = 16_000
            frames = [frame]
        for frame in frames:
            written.mux(stream.encode(frame))
        written.mux(stream.encode(None))
    return content.getvalue()


CASES = [
    *((kind, lambda kind=kind: picture(kind), Image) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")),
    *((kind, lambda kind=kind: sound(kind), Audio) for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF")),
    *((kind, lambda kind=kind: video(kind), Video) for kind in ("mp4", "matroska", "avi", "mpegts")),
    ("m4a", lambda: video("mp4", pictures=False), Audio),
    ("pdf", lambda: pdf("The lamp is blue."), Text),
    ("ascii", lambda: b"The lamp is blue.", Text),
    ("utf-8", "Die Lampe ist grün. 灯是蓝色的。".encode, Text),
    ("svg", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", Text),
    ("long text", lambda: ("ü" * 100_001).encode(), Text),  # a character lies across the end of what is looked at
]


@pytest.mark.parametrize(("content", "kind"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_file_is_recognised_whatever_its_name(content, kind: type, tmp_path: Path) -> None:
    path = tmp_path / "download"
    path.write_bytes(content())
    assert isinstance(attachment(str(path)), kind)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\x01\x02\x03" * 100, "not a picture, sound, video, PDF or text"),
        (b"\x1f\x8b\x08" + bytes(50), "unpack the file first"),
        (b"8BPS\x00\x01" + bytes(50), "convert the picture to PNG"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50), "old office document"),
        (picture("PNG")[:60], "the picture is damaged or incomplete"),
        (b"%PDF-1.7\n" + bytes(range(256)), "the PDF is damaged or incomplete"),
        (pdf(""), "the PDF has no text"),
        (pdf("secret", password="hunter2"), "password"),
        (b"", "empty"),
    ],
)
def test_what_cannot_be_attached_is_one_line_with_a_remedy(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as raised:
        attachment(str(path))
    assert "\n" not in str(raised.value)


def test_an_office_document_is_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    with pytest.raises(InputError, match="export the document as PDF"):
        attachment(str(tmp_path / "a.docx"))


def test_a_document_comes_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("The lamp is blue.", "The ball is red."))
    part = attachment(str(tmp_path / "a.pdf"))
    assert isinstance(part, Text)
    assert part.text == f"{tmp_path}/a.pdf:\nThe lamp is blue.\n\nThe ball is red.\n\n"
    assert attachment(str(tmp_path / "a.pdf"), "text") == part


@pytest.mark.parametrize(("name", "content", "extra"), [("a.pdf", pdf("x"), "pdf"), ("a.mp4", video("mp4"), "video")])
def test_an_extra_that_is_missing_is_named(
    name: str, content: bytes, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pypdf", "av"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    assert not container.available()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=rf"gemma-cli\[{extra}\]"):
        attachment(str(tmp_path / name))


def test_random_bytes_are_recognised_or_refused() -> None:
    random = np.random.default_rng(1)
    for begins in (b"", b"RIFF", b"\xff\xfb", b"ID3", b"\x1a\x45\xdf\xa3", b"%PDF-", b"GIF89a", b"OggS"):
        for size in (1, 40, 3000):
            file = io.BytesIO(begins + random.bytes(size))
            with contextlib.suppress(GemmaError):
                recognize.recognize(file, "a")
                assert file.tell() == 0


def test_what_stands_at_an_address_is_recognised_too() -> None:
    class Served(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(picture("PNG"))

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Served) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/get?id=7"
        part = attachment(address)
    assert isinstance(part, Image)
    assert part.name == address
