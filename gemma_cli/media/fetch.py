"""What stands at an http(s) address, streamed into a temporary file that has no name and goes when it is closed.

The standard library does it, so no package has to be there. Nothing is asked for but the bytes themselves: no cookies,
no compression, no credentials. Proxies are those of the environment (`https_proxy`, `no_proxy`).
"""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import PurePosixPath
from time import monotonic
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from gemma_cli import __version__
from gemma_cli.core.errors import GemmaError, InputError
from gemma_cli.media.address_guard import LedInside, Peers, handlers

LIMIT_BYTES = 2 << 30
LIMIT_S = 3600.0
"""For all of it. `timeout` of urllib alone would let a server that sends a byte a second go on for ever."""

STALL_S = 30.0
"""Without a single byte."""

REDIRECTS = 5
_CHUNK = 1 << 16

Told = Callable[[int, int | None], None]
"""Is told the bytes that are there, and how many there will be if the server says so."""


def is_address(name: str) -> bool:
    """Whether an input is named by an http(s) address."""
    return name.lower().startswith(("http://", "https://"))


def file_name(address: str) -> str:
    """What the file at an address is called: the last part of its path, or else the host."""
    parts = urlsplit(address)
    return PurePosixPath(unquote(parts.path)).name.replace("\0", "") or parts.hostname or "address"


def fetch(address: str, told: Told = lambda there, total: None) -> BinaryIO:
    """The bytes there, from the first one on. The caller closes it.

    Raises InputError for an address with nothing to be had, a web page, more than LIMIT_BYTES or LIMIT_S; GemmaError
    where the disk is full.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (*handlers(Peers()), _Redirects(), urllib.request.HTTPErrorProcessor(), _Errors()):
        opener.add_handler(handler)
    deadline = monotonic() + LIMIT_S
    try:
        with opener.open(_request(address), timeout=STALL_S) as response:
            return _stored(response, address, told, deadline)
    except urllib.error.HTTPError as error:
        error.close()
        raise InputError(f"{address}: {_answer(error)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a host that no name can be
        raise InputError(f"{address}: {_reason(error)}") from None


def _request(address: str) -> urllib.request.Request:
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port  # a port that is no number raises here
    except ValueError:
        host = None
    if not host or any(character.isspace() or ord(character) < 32 for character in address):
        raise InputError(f"{address}: not an address; write it as https://host/path, with %20 for a space")
    if "@" in parts.netloc:
        raise InputError(f"https://{host}: user and password in an address are not sent; download it and give the file")
    headers = {"User-Agent": f"gemma/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
    netloc = parts.netloc.encode("idna").decode() if not parts.netloc.isascii() else parts.netloc
    spelled = parts._replace(netloc=netloc, path=_quoted(parts.path), query=_quoted(parts.query), fragment="")
    return urllib.request.Request(spelled.geturl(), headers=headers)


def _quoted(part: str) -> str:
    """As it was given, with what is no ASCII spelled in percents."""
    return "".join(c if c.isascii() else "".join(f"%{byte:02X}" for byte in c.encode()) for c in part)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = REDIRECTS

    def redirect_request(  # type: ignore[no-untyped-def]
        self, req, fp, code, msg, headers, newurl
    ) -> urllib.request.Request | None:
        if not is_address(newurl) or (req.type == "https" and not newurl.lower().startswith("https:")):
            raise InputError(f"{req.full_url}: leads to {newurl}, which is not as safe; give that one if you mean it")
        fp.close()  # or urllib would read what comes with the redirect, however much that is
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Errors(urllib.request.HTTPDefaultErrorHandler):
    """Every answer that is not a success and leads nowhere is an HTTPError."""


def _stored(response: http.client.HTTPResponse, address: str, told: Told, deadline: float) -> BinaryIO:
    total = _promised(response, address)
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        there = 0
        while chunk := response.read1(_CHUNK):
            there += len(chunk)
            if there > LIMIT_BYTES:
                raise _too_much(address)
            if monotonic() > deadline:
                raise InputError(
                    f"{address}: not all there after {LIMIT_S / 60:.0f} minutes; download it and give the file"
                )
            _write(spool, chunk)
            told(there, total)
        if total is not None and there < total:
            raise InputError(f"{address}: broke off after {there:,} of {total:,} bytes; try again")
        if not there:
            raise InputError(f"{address}: empty (0 bytes)")
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return spool


def _promised(response: http.client.HTTPResponse, address: str) -> int | None:
    """Bytes to come, as far as the server says. Raises InputError for what is not worth fetching."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise InputError(f"{address}: comes compressed though nobody asked; download it and give the file")
    if response.headers.get_content_type() == "text/html":
        raise InputError(f"{address}: a web page, not a file; give the address of the recording or text itself")
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() and "Transfer-Encoding" not in response.headers else None
    if total is not None and total > LIMIT_BYTES:
        raise _too_much(address)
    return total


def _write(spool: BinaryIO, chunk: bytes) -> None:
    try:
        spool.write(chunk)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise GemmaError(f"{tempfile.gettempdir()} is full: TMPDIR moves where addresses are fetched to") from None


def _too_much(address: str) -> InputError:
    return InputError(f"{address}: more than {LIMIT_BYTES >> 30} GiB; download it and give the file")


def _answer(error: urllib.error.HTTPError) -> str:
    """What an answer that is no success means to who asked."""
    if "redirect" in str(error.reason):
        return f"leads in circles, or further than {REDIRECTS} times"
    meanings = {
        401: "wants a login (401); download it and give the file",
        403: "must not be had (403); download it and give the file",
        404: "nothing there (404); check the address",
        410: "no longer there (410)",
        429: "asked too often (429); try later",
    }
    known = meanings.get(error.code)
    return known or f"the server answers {error.code}{'; try later' if error.code >= 500 else '; check the address'}"


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    match cause:
        case LedInside():
            return "leads from outside into the local network; give that address if you mean it"
        case socket.gaierror():
            return "no such host; check the address, and whether this machine is online"
        case ConnectionRefusedError():
            return "the server refuses the connection; check the address"
        case TimeoutError():
            return f"the server sends nothing for {STALL_S:.0f} s; try later"
        case ssl.SSLCertVerificationError():
            return f"the server cannot prove who it is ({cause.verify_message})"
        case http.client.HTTPException() | ConnectionError():
            return "the connection broke off; try again"
        case OSError():
            return f"cannot be fetched ({cause.strerror or cause})"
    return f"cannot be fetched ({cause})"
