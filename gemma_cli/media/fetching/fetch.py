"""Downloads of http(s) addresses into an unnamed temporary file that disappears when it is closed.

Requests have no cookies, no compression and no credentials. Proxies are those of the environment (`https_proxy`,
`no_proxy`). httpcore2 speaks HTTP; `address_guard` decides which peers are allowed and for how long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from time import monotonic
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from gemma_cli import __version__
from gemma_cli.core.errors import InputError
from gemma_cli.media.spool import new_spool, spooling

if TYPE_CHECKING:
    import httpcore2

    from gemma_cli.media.fetching.address_guard import Peers

LIMIT_BYTES = 2 << 30
LIMIT_S = 3600.0
"""Seconds for the entire download: a server that sends one byte a second must not hold it forever."""

STALL_S = 30.0
"""Seconds without a byte."""

REDIRECTS = 5
_CHUNK = 1 << 16

ProgressCallback = Callable[[int, int | None], None]
"""A callback with the bytes that have arrived, and the total if the server gives it."""


def is_address(name: str) -> bool:
    """Return whether an input is an http(s) address."""
    return name.lower().startswith(("http://", "https://"))


def file_name(address: str) -> str:
    """Return the file name of an address: the last part of its path, else the host."""
    parts = urlsplit(address)
    return PurePosixPath(unquote(parts.path)).name.replace("\0", "") or parts.hostname or "address"


def fetch(address: str, told: ProgressCallback = lambda there, total: None) -> BinaryIO:
    """The bytes there, from the first one on. The caller closes it.

    Raises InputError for an address with nothing to be had, a web page, more than LIMIT_BYTES or LIMIT_S; GemmaError
    where the disk is full.
    """
    import httpcore2

    from gemma_cli.media.fetching.address_guard import Peers

    deadline, peers, url = monotonic() + LIMIT_S, Peers(), _checked(address)
    try:
        for _ in range(REDIRECTS + 1):
            with _opened(url, peers, deadline) as response:
                headers = _headers(response)
                target = headers.get("location")
                if response.status not in _REDIRECT or target is None:
                    return _stored(response, headers, address, told)
            url = _led(url, target, address)
    except (httpcore2.TimeoutException, TimeoutError):
        raise InputError(f"{address}: {_late(deadline)}") from None
    except (OSError, httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError) as error:
        raise InputError(f"{address}: {_reason(error)}") from None
    raise InputError(f"{address}: the server redirects more than {REDIRECTS} times; check the address")


_REDIRECT = (301, 302, 303, 307, 308)


def _checked(address: str) -> SplitResult:
    """The parts of an address that can be asked for. Raises InputError."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port  # a port that is no number raises here
    except ValueError:
        host = None
    if not host or any(character.isspace() or ord(character) < 32 for character in address):
        raise InputError(f"{address}: not a web address; write the address as https://host/path, with %20 for a space")
    if "@" in parts.netloc:
        raise InputError(
            f"https://{host}: gemma sends no user name or password from "
            "an address; download the file yourself and give its path"
        )
    try:
        netloc = parts.netloc.lower() if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    except UnicodeError as error:
        raise InputError(f"{address}: the file cannot be downloaded ({error})") from None
    return parts._replace(netloc=netloc, path=_quoted(parts.path) or "/", query=_quoted(parts.query), fragment="")


def _led(url: SplitResult, target: str, address: str) -> SplitResult:
    """Return the target of a redirect. Raises InputError if it is less secure than its origin."""
    try:
        led = urljoin(url.geturl(), target.strip().replace(" ", "%20"))
    except ValueError:
        raise InputError(f"{address}: the server redirects to an invalid address") from None
    if not is_address(led) or (url.scheme == "https" and not led.lower().startswith("https:")):
        raise InputError(
            f"{address}: the server redirects to {led}, which is less "
            "secure; if you trust the new address, give it instead"
        )
    try:
        return _checked(led)
    except InputError as error:
        raise InputError(f"{address}: the server redirects to an address that cannot be used: {error}") from None


@contextmanager
def _opened(url: SplitResult, peers: Peers, deadline: float) -> Iterator[httpcore2.Response]:
    """The response, of which only the headers have been read."""
    import httpcore2

    query = f"?{url.query}" if url.query else ""
    asked = httpcore2.URL(
        scheme=url.scheme.encode(),
        host=(url.hostname or "").encode(),
        port=url.port,
        target=f"{url.path}{query}".encode(),
    )
    headers = [
        ("Host", url.netloc),
        ("User-Agent", f"gemma/{__version__}"),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ]
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), STALL_S)
    with (
        _pool(url, peers, deadline) as pool,
        pool.stream("GET", asked, headers=headers, extensions={"timeout": timeout}) as response,
    ):
        yield response


def _pool(url: SplitResult, peers: Peers, deadline: float) -> httpcore2.ConnectionPool:
    """Connections to the host of an address, or to the proxy that the environment names for it."""
    from urllib import request

    import httpcore2

    from gemma_cli.media.fetching.address_guard import Network

    proxy = request.getproxies().get(url.scheme)
    if not proxy or request.proxy_bypass(url.netloc):
        return httpcore2.ConnectionPool(network_backend=Network(peers, deadline))
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"{url.scheme}_proxy: not an HTTP proxy; write the proxy as http://host:port")
    peers.proxied()
    auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return httpcore2.HTTPProxy(place, proxy_auth=auth, network_backend=Network(None, deadline))


def _headers(response: httpcore2.Response) -> dict[str, str]:
    """Headers by their names in lower case; of several with one name, the last."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


def _quoted(part: str) -> str:
    """Return the address with non-ASCII characters percent-encoded."""
    return "".join(c if c.isascii() else "".join(f"%{byte:02X}" for byte in c.encode()) for c in part)


def _stored(response: httpcore2.Response, headers: dict[str, str], address: str, told: ProgressCallback) -> BinaryIO:
    import httpcore2

    if response.status not in (200, 203):
        raise InputError(f"{address}: {_answer(response.status)}")
    total = _promised(headers, address)
    spool = new_spool()
    there = 0
    try:
        for chunk in response.iter_stream():
            there += len(chunk)
            if there > LIMIT_BYTES:
                raise _too_much(address)
            with spooling():
                spool.write(chunk)
            told(there, total)
        if not there:
            raise InputError(f"{address}: empty (0 bytes)")
        with spooling():
            spool.seek(0)
    except (httpcore2.ProtocolError, httpcore2.ReadError):
        spool.close()
        of = f" of {total:,}" if total else ""
        raise InputError(f"{address}: the download stopped after {there:,}{of} bytes; try again") from None
    except BaseException:
        with suppress(OSError):  # what could not be written is tried once more
            spool.close()
        raise
    return spool


def _promised(headers: dict[str, str], address: str) -> int | None:
    """Return the expected number of bytes, if the server gives it. Raises InputError for a response of no use."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise InputError(
            f"{address}: the server sends an unexpected compressed file; download the file yourself and give its path"
        )
    if headers.get("content-type", "").partition(";")[0].strip().lower() == "text/html":
        raise InputError(
            f"{address}: the address leads to a web page; give the address of the recording, picture or text itself"
        )
    length = headers.get("content-length", "")
    total = int(length) if length.isdecimal() and "transfer-encoding" not in headers else None
    if total is not None and total > LIMIT_BYTES:
        raise _too_much(address)
    return total


def _too_much(address: str) -> InputError:
    return InputError(
        f"{address}: the file is larger than {LIMIT_BYTES >> 30} GiB; download the file yourself and give its path"
    )


def _late(deadline: float) -> str:
    if monotonic() >= deadline:
        return (
            f"the download takes longer than {LIMIT_S / 60:.0f} minutes; download the file yourself and give its path"
        )
    return f"the server has sent nothing for {STALL_S:.0f} s; try again later"


def _answer(status: int) -> str:
    """Explain an unsuccessful status to the user."""
    meanings = {
        401: "the server requires a login (401); download the file yourself and give its path",
        403: "the server denies access (403); download the file yourself and give its path",
        404: "the server does not have the file (404); check the address",
        410: "the server no longer has the file (410); check the address",
        429: "the server has received too many requests (429); try again later",
    }
    known = meanings.get(status)
    return (
        known
        or f"the server answers with status {status}; {'try again later' if status >= 500 else 'check the address'}"
    )


def _reason(error: Exception) -> str:
    """Explain a failed connection; httpcore2's errors wrap those of the socket."""
    import socket
    import ssl

    from gemma_cli.media.fetching.address_guard import RedirectedInside

    cause = error if isinstance(error, OSError) else next(iter(error.args), error)
    match cause:
        case RedirectedInside():
            return "the server redirects into the local network; if you trust the new address, give it instead"
        case socket.gaierror():
            return "the host is unknown; check the address and the internet connection"
        case ConnectionRefusedError():
            return "the server rejects the connection; check the address"
        case ssl.SSLCertVerificationError():
            return f"the certificate of the server is not valid ({cause.verify_message})"
        case OSError() if not isinstance(cause, ConnectionError):
            return f"the file cannot be downloaded ({cause.strerror or cause})"
    return "the connection was lost; try again"
