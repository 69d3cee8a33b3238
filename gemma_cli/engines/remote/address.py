"""A server's address and its key. A key comes from the environment or a file, never from an address."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gemma_cli.core.errors import UsageError
from gemma_cli.store.bounded_read import read_text

KEY = "GEMMA_ENGINE_KEY"
KEY_FILE = "GEMMA_ENGINE_KEY_FILE"
EXAMPLE = "give an address such as http://127.0.0.1:8000"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Address:
    """A server's address.

    shown: as it is printed, without the API's path. api: URL of the API, without a slash at its end.
    socket: the Unix socket to connect to; None for TCP.
    """

    shown: str
    api: str
    socket: Path | None = None

    @property
    def root(self) -> str:
        """URL that /health and /metrics are relative to."""
        return self.api.removesuffix("/v1")

    @property
    def is_local(self) -> bool:
        """Whether requests stay on this machine."""
        return self.socket is not None or urlsplit(self.api).hostname in _LOOPBACK

    @property
    def is_secret(self) -> bool:
        """Whether nobody on the way can read the requests."""
        return self.is_local or self.api.startswith("https:")


def parse_address(url: str) -> Address:
    """Read http://HOST[:PORT][/v1], https://… or unix:SOCKET. Raises UsageError."""
    url = url.strip()
    if not url.isprintable():
        raise UsageError(f"--engine: the address contains control characters; {EXAMPLE}")
    scheme, _, rest = url.partition(":")
    if scheme == "unix":
        path = "/" + rest.lstrip("/") if rest.startswith("/") else rest
        if not path:
            raise UsageError(
                f"--engine {url}: the path of the socket is missing; give a path such as unix:/run/user/1000/gemma.sock"
            )
        return Address(f"unix:{path}", "http://localhost/v1", Path(path).expanduser())
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UsageError(f"--engine {url.rpartition('@')[2]}: not a valid address; {EXAMPLE}") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            f"--engine: other users can see a name or password in the address; set the key in {KEY} instead"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or " " in url:
        raise UsageError(f"--engine {url}: not a valid address; {EXAMPLE}")
    if parts.query or parts.fragment:
        raise UsageError(f"--engine {url}: the address has a query or a fragment; {EXAMPLE}")
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    origin = f"{parts.scheme}://{parts.netloc}"
    return Address(origin + path.removesuffix("/v1"), origin + (path or "/v1"))


def read_key() -> str | None:
    """Return the API key in GEMMA_ENGINE_KEY or in the file that GEMMA_ENGINE_KEY_FILE names. Raises UsageError."""
    source, key = KEY, os.environ.get(KEY, "")
    if not key and (file := os.environ.get(KEY_FILE)):
        source = f"{KEY_FILE}={file}"
        try:
            key = read_text(Path(file).expanduser())
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(
                f"{source}: the file cannot be read ({getattr(error, 'strerror', None) or 'not text'})"
            ) from None
        if not key.strip():
            raise UsageError(f"{source}: the file is empty; write the key into the file")
    key = key.strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UsageError(f"{source}: not a valid key; a key is one word of ASCII characters")
    return key or None
