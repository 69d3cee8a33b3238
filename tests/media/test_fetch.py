import socket
import tempfile

import pytest

from gemma_cli.core.errors import InputError
from gemma_cli.media import fetch as module
from gemma_cli.media.address_guard import LedInside, Peers
from gemma_cli.media.fetch import fetch, file_name, is_address
from gemma_cli.media.input_files import sound_files
from tests.media.server import serving


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Temporary files go to a folder of their own, which has to be empty in the end."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with serving() as server:
        yield server
    assert list(tmp_path.iterdir()) == []


def refused(address):
    with pytest.raises(InputError) as error:
        fetch(address)
    assert str(error.value).startswith(f"{address}: ")
    return str(error.value).removeprefix(f"{address}: ")


def test_the_bytes_of_an_address_come_as_a_file(server):
    content = bytes(range(256)) * 1000
    server.files["/a b/ü.wav"] = server.files["/a%20b/%C3%BC.wav"] = content
    told = []
    with fetch(server.address("/a%20b/ü.wav#t=10"), lambda there, total: told.append((there, total))) as file:
        assert file.read() == content
        assert file.seek(10) == 10
        assert file.fileno() > 2
    assert told[-1] == (len(content), len(content))
    assert [there for there, _ in told] == sorted({there for there, _ in told})


def test_redirects_are_followed_but_not_for_ever_nor_anywhere(server):
    server.files["/a.wav"] = b"sound"
    with fetch(server.address("/to//to//a.wav")) as file:
        assert file.read() == b"sound"
    assert refused(server.address("/round/1")).startswith("leads in circles")
    assert len(server.asked) < 20
    assert "302" in refused(server.address("/to/file:///etc/passwd"))
    with pytest.raises(InputError, match="leads to ftp://"):
        fetch(server.address("/to/ftp://127.0.0.1/a.wav"))


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("/missing.wav", "nothing there (404)"),
        ("/status/401", "wants a login"),
        ("/status/403", "must not be had"),
        ("/status/418", "the server answers 418"),
        ("/status/503", "try later"),
        ("/page/watch?v=1", "a web page"),
        ("/empty/", "empty (0 bytes)"),
        ("/short/", "broke off after 4 of 1,000 bytes"),
        ("/huge/", "more than 2 GiB"),
        ("/packed/", "compressed"),
    ],
)
def test_what_is_not_to_be_had_is_told(server, page, reason):
    assert reason in refused(server.address(page))


def test_what_has_no_end_is_ended(server, monkeypatch):
    monkeypatch.setattr(module, "LIMIT_BYTES", 1 << 20)
    assert "more than" in refused(server.address("/endless/"))
    monkeypatch.setattr(module, "LIMIT_S", -1.0)
    assert "not all there after" in refused(server.address("/endless/"))
    monkeypatch.setattr(module, "STALL_S", 0.05)
    assert "sends nothing" in refused(server.address("/silent/"))


def test_a_server_that_is_not_there_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert "refuses the connection" in refused(f"http://127.0.0.1:{port}/a.wav")


@pytest.mark.parametrize("address", ["http://", "https://host:port/a", "http://a b/c", "http://host/a\nb", "http://[/"])
def test_what_is_no_address_is_told(address):
    assert "not an address" in refused(address)


def test_credentials_are_neither_sent_nor_shown():
    with pytest.raises(InputError) as error:
        fetch("https://me:secret@127.0.0.1/a.wav")
    assert "secret" not in str(error.value)


def test_a_host_no_name_can_be():
    assert "cannot be fetched" in refused(f"http://{'ü' * 80}.example/a.wav")


def test_an_address_outside_does_not_lead_inside():
    inside = Peers()
    for peer in ("127.0.0.1", "192.168.1.7", "fe80::1%eth0"):
        inside.check(peer)
    outside = Peers()
    outside.check("192.168.1.1")  # a proxy
    outside.check("8.8.8.8")
    outside.check("2606:4700::1111")
    for peer in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"):
        with pytest.raises(LedInside):
            outside.check(peer)


def test_an_address_has_a_name_and_is_no_pattern():
    assert is_address("HTTPS://example.org/a")
    assert not is_address("example.org/a")
    assert file_name("https://example.org/talks/a%20b.mp3?sign=x/y#t") == "a b.mp3"
    assert file_name("https://example.org/") == "example.org"
    assert file_name("https://example.org/..%2F..%2Fetc") == "etc"
    (named,) = sound_files(["https://example.org/a[1]*.mp3?x=*"])
    assert (named.path, str(named.relative)) == ("https://example.org/a[1]*.mp3?x=*", "a[1]*.mp3")
