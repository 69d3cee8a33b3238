import socket
import tempfile
from pathlib import Path
from time import monotonic

import pytest

from gemma_cli.core.errors import InputError
from gemma_cli.media.fetching import fetch as module
from gemma_cli.media.fetching.address_guard import Peers, RedirectedInside
from gemma_cli.media.fetching.fetch import fetch, file_name, is_address
from gemma_cli.media.input_files import sound_files
from tests.media.fetching.server import serving


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
    assert refused(server.address("/round/1")).startswith("the server redirects more than")
    assert len(server.asked) < 20
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/a.wav", "data:,x"):
        assert refused(server.address(f"/to/{target}")).startswith(f"the server redirects to {target}, which is less")
    for target in ("http://me:secret@127.0.0.1/a.wav", "http://[/", "http://a:b/"):
        reason = refused(server.address(f"/to/{target}"))
        assert reason.startswith("the server redirects to an ")
        assert "secret" not in reason


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("/missing.wav", "the server does not have the file (404)"),
        ("/status/401", "requires a login"),
        ("/status/403", "denies access"),
        ("/status/418", "the server answers with status 418"),
        ("/status/503", "try again later"),
        ("/page/watch?v=1", "a web page"),
        ("/empty/", "empty (0 bytes)"),
        ("/short/", "the download stopped after 4 of 1,000 bytes"),
        ("/huge/", "larger than 2 GiB"),
        ("/packed/", "compressed"),
    ],
)
def test_what_is_not_to_be_had_is_told(server, page, reason):
    assert reason in refused(server.address(page))


def test_what_has_no_end_is_ended(server, monkeypatch):
    monkeypatch.setattr(module, "LIMIT_BYTES", 1 << 20)
    assert "larger than" in refused(server.address("/endless/"))
    monkeypatch.setattr(module, "STALL_S", 0.05)
    assert "has sent nothing" in refused(server.address("/silent/"))


def test_a_server_that_is_not_there_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert "rejects the connection" in refused(f"http://127.0.0.1:{port}/a.wav")


@pytest.mark.parametrize("address", ["http://", "https://host:port/a", "http://a b/c", "http://host/a\nb", "http://[/"])
def test_what_is_no_address_is_told(address):
    assert "not a web address" in refused(address)


def test_credentials_are_neither_sent_nor_shown():
    with pytest.raises(InputError) as error:
        fetch("https://me:secret@127.0.0.1/a.wav")
    assert "secret" not in str(error.value)


def test_a_host_no_name_can_be():
    assert "cannot be downloaded" in refused(f"http://{'ü' * 80}.example/a.wav")


INTERNET = ("8.8.8.8", "1.1.1.1", "2606:4700::1111", "2001:4860:4860::8888")
LOCAL = (
    "127.0.0.1",
    "10.0.0.1",
    "192.168.1.7",
    "100.64.0.1",
    "0.0.0.0",
    "::1",
    "::",
    "fe80::1%eth0",
    "fd00::1",
    "fec0::1",
)
LOCAL += ("169.254.169.254", "172.31.0.1", "198.18.0.1")
DOUBTFUL = (
    *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "64:ff9b:1::808:808"),  # NAT64
    *("2002:7f00:1::", "2002:808:808::1", "192.88.99.1"),  # 6to4
    *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001::1"),  # Teredo
    *("::7f00:1", "::808:808", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:808:808"),  # IPv4 forms of IPv6
    *("224.0.0.1", "239.1.2.3", "ff02::1", "ff0e::1"),  # multicast
    *("240.0.0.1", "255.255.255.255", "2001:db8::1", "3fff::1", "5f00::1", "100::1", "1234::1"),  # not handed out
)


@pytest.mark.parametrize("first", [*INTERNET, "::ffff:8.8.8.8", "2002:808:808::1", "2001::1", "64:ff9b:1::808:808"])
def test_an_address_outside_does_not_lead_inside(first):
    peers = Peers()
    peers.check("192.168.1.1")
    peers.connected("192.168.1.1")
    peers.check(first)
    peers.connected(first)
    for peer in INTERNET:
        peers.check(peer)
    for peer in (*LOCAL, *DOUBTFUL):
        with pytest.raises(RedirectedInside):
            peers.check(peer)


def test_what_begins_inside_may_go_anywhere():
    peers = Peers()
    for peer in (*LOCAL, *DOUBTFUL, *INTERNET):
        peers.check(peer)
    for peer in LOCAL:
        peers.connected(peer)
    for peer in (*LOCAL, *DOUBTFUL, *INTERNET):
        peers.check(peer)


def test_a_network_that_reaches_everything_through_nat64_is_judged_by_the_ipv4_address():
    peers = Peers()
    peers.connected("64:ff9b::808:808")
    for peer in ("64:ff9b::101:101", *INTERNET):
        peers.check(peer)
    for peer in ("64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "127.0.0.1", "64:ff9b:1::808:808"):
        with pytest.raises(RedirectedInside):
            peers.check(peer)


class Internet:
    """Names and addresses that all lead to a server on this machine. connected: (address, port) in their order."""

    def __init__(self, monkeypatch, **names):
        self.names = {name.replace("_", "."): list(addresses) for name, addresses in names.items()}
        self.connected, self.looked_up = [], []
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)
        monkeypatch.setattr(socket, "create_connection", self._connected)

    def _look_up(self, host, port, *_, **__):
        """Each look-up of a name with several answers takes the next."""
        self.looked_up.append(host)
        answers = self.names.get(host, [host])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        several = answer if isinstance(answer, tuple) else (answer,)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in several]

    def _connected(self, place, timeout=None, **_):
        self.connected.append(place)
        if place[0] == "9.9.9.9":
            raise ConnectionRefusedError
        connection = socket.socket()
        connection.settimeout(timeout)
        connection.connect(("127.0.0.1", place[1]))
        return connection


@pytest.fixture
def secure(monkeypatch):
    """A server that speaks TLS as any name under .example."""
    certificate = Path(__file__).with_name("example.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(certificate) as server:
        yield server


LEADS_INSIDE = "the server redirects into the local network"


@pytest.mark.parametrize(
    "target", ["10.0.0.1", "169.254.169.254", "[::1]", "inside.example", "127.0.0.1", "[64:ff9b::1]"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_redirect_inside_is_not_followed(server, secure, monkeypatch, scheme, target):
    """Not a packet is sent there, whether the connection would be encrypted or not."""
    there = secure if scheme == "https" else server
    net = Internet(monkeypatch, out_example=["8.8.8.8"], inside_example=["192.168.1.7"])
    address = f"{scheme}://out.example:{there.server_port}/to/{scheme}://{target}:{there.server_port}/a.wav"
    there.files["/a.wav"] = b"secret"
    assert refused(address).startswith(LEADS_INSIDE)
    assert [host for host, _ in net.connected] == ["8.8.8.8"]
    assert len(there.asked) == 1


def test_a_name_that_changes_its_address_is_not_followed_inside(server, monkeypatch):
    """The name stands for a public address when it is asked for first, for a private one at the redirect."""
    net = Internet(monkeypatch, out_example=["8.8.8.8", "127.0.0.1"])
    assert refused(f"http://out.example:{server.server_port}/to//a.wav").startswith(LEADS_INSIDE)
    assert [host for host, _ in net.connected] == ["8.8.8.8"]
    assert net.looked_up == ["out.example"] * 2  # once for each connection, and nothing looks it up in between


def test_the_address_that_was_checked_is_the_one_connected_to(server, monkeypatch):
    net = Internet(monkeypatch, out_example=["8.8.8.8", "1.1.1.1", "10.0.0.1"])
    server.files["/a.wav"] = b"sound"
    with fetch(f"http://out.example:{server.server_port}/to//a.wav") as file:
        assert file.read() == b"sound"
    assert [host for host, _ in net.connected] == ["8.8.8.8", "1.1.1.1"]


def test_every_address_of_a_name_is_tried_and_only_connections_count(server, monkeypatch):
    net = Internet(monkeypatch, nas_example=[("9.9.9.9", "192.168.1.5")], out_example=[("9.9.9.9", "8.8.8.8")])
    server.files["/a.wav"] = b"sound"
    for host in ("nas.example", "out.example"):
        with fetch(f"http://{host}:{server.server_port}/a.wav") as file:
            assert file.read() == b"sound"
    assert [host for host, _ in net.connected] == ["9.9.9.9", "192.168.1.5", "9.9.9.9", "8.8.8.8"]


def test_a_redirect_out_of_tls_is_not_followed(server, secure, monkeypatch):
    net = Internet(monkeypatch, out_example=["8.8.8.8"])
    server.files["/a.wav"] = secure.files["/a.wav"] = b"sound"
    plain = f"http://out.example:{server.server_port}"
    encrypted = f"https://out.example:{secure.server_port}"
    assert "which is less secure" in refused(f"{encrypted}/to/{plain}/a.wav")
    with fetch(f"{plain}/to/{encrypted}/a.wav") as file:
        assert file.read() == b"sound"
    assert len(net.connected) == 3


def test_a_certificate_of_another_name_is_refused(secure, monkeypatch):
    Internet(monkeypatch, other_test=["8.8.8.8"])
    assert "the certificate of the server is not valid" in refused(f"https://other.test:{secure.server_port}/a.wav")
    assert not secure.asked


def test_nothing_but_the_request_itself_is_sent(server, monkeypatch):
    Internet(monkeypatch, out_example=["8.8.8.8"], other_example=["1.1.1.1"])
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.files["/a.wav"] = b"sound"
    fetch(f"http://out.example:{server.server_port}/to/http://other.example:{server.server_port}/a.wav").close()
    assert [sorted(sent) for sent in server.headers] == [
        ["accept", "accept-encoding", "connection", "host", "user-agent"]
    ] * 2
    assert [sent["host"] for sent in server.headers] == [
        f"{name}.example:{server.server_port}" for name in ("out", "other")
    ]


def test_a_proxy_may_lie_anywhere_but_leads_outside(server, monkeypatch):
    """What a proxy brought is of the internet: it does not lead to hosts that are reached without the proxy."""
    monkeypatch.setenv("http_proxy", f"http://user:pass@10.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "inside.example")
    net = Internet(monkeypatch, inside_example=["192.168.1.7"])
    server.files["/a.wav"] = b"sound"
    with fetch("http://out.example/to/http://further.example/a.wav") as file:
        assert file.read() == b"sound"
    assert {sent["proxy-authorization"] for sent in server.headers} == {"Basic dXNlcjpwYXNz"}
    assert net.looked_up == ["10.0.0.1"] * 2  # other names are the proxy's to look up
    inside = f"http://inside.example:{server.server_port}"
    assert refused(f"http://out.example/to/{inside}/a.wav").startswith(LEADS_INSIDE)
    server.headers.clear()
    with fetch(f"{inside}/a.wav") as file:
        assert file.read() == b"sound"
    assert "proxy-authorization" not in server.headers[0]


HEADERS = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEADERS + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "start",
    [
        b"",
        HEADERS,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 C",
        CHUNKED,
        CHUNKED + b"5\r\nhello\r\n1;a=",
        CHUNKED + b"fffff\r\n",
        HEADERS + b"Content-Length: 99999\r\n\r\n",
        HEADERS + b"\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 99999\r\nLocation: /drip/\r\n\r\n",
    ],
    ids=["status", "headers", "continue", "size", "extension", "chunk", "length", "no length", "redirect"],
)
def test_the_deadline_holds_in_every_part_of_a_response(server, monkeypatch, start):
    """A byte every 10 ms is never silence; the whole takes LIMIT_S and no more."""
    monkeypatch.setattr(module, "LIMIT_S", 0.3)
    began = monotonic()
    reason = refused(server.address(f"/drip/{start.hex()}"))
    assert "the download takes longer than" in reason or (not start and "the download stopped" in reason)
    assert monotonic() - began < 0.3 + 0.5


def test_a_redirect_is_not_read_to_its_end(server):
    server.files["/a.wav"] = b"sound"
    start = b"HTTP/1.1 302 Found\r\nContent-Length: 999999999\r\nLocation: /a.wav\r\n\r\n"
    with fetch(server.address(f"/drip/{start.hex()}")) as file:
        assert file.read() == b"sound"


def test_an_address_has_a_name_and_is_no_pattern():
    assert is_address("HTTPS://example.org/a")
    assert not is_address("example.org/a")
    assert file_name("https://example.org/talks/a%20b.mp3?sign=x/y#t") == "a b.mp3"
    assert file_name("https://example.org/") == "example.org"
    assert file_name("https://example.org/..%2F..%2Fetc") == "etc"
    (named,) = sound_files(["https://example.org/a[1]*.mp3?x=*"])
    assert (named.path, str(named.relative)) == ("https://example.org/a[1]*.mp3?x=*", "a[1]*.mp3")
