"""Requests to the Hugging Face Hub: the token, redirects, refusals, pauses and further tries."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from gemma_cli import __version__
from gemma_cli.core.errors import GemmaError

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

HUB = "https://huggingface.co"
TRIES = 6
"""Requests in a row that bring no byte before a pull gives up."""

BACKOFF_S = 1.0
"""Pause before the second try; it doubles with each further one."""

LONGEST_PAUSE_S = 300.0
"""The longest pause that the Hub can ask for. A pull that would have to pause longer ends and says so."""

CONNECT_S = 10.0
REDIRECTS = 5


class Stopped(Exception):
    """The user has stopped the pull."""


class HubError(Exception):
    """The reason why a pull ends, without the name of the repository."""


class Refused(Exception):
    """The Hub answers 401, 403 or 404, which a token may change. name: of the repository, once it is known."""

    name = ""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"the Hub answered {status}")
        self.status, self.gated = status, code == "GatedRepo"


class Transient(Exception):
    """A failure that another try may cure.

    pause: seconds that the server asks to wait, or None. connected: whether any server answered.
    """

    def __init__(self, reason: str, pause: float | None = None, connected: bool = True) -> None:
        super().__init__(reason)
        self.pause, self.connected = pause, connected


@dataclass
class Progress:
    """State of a pull, for a view to read at any time. there, total: bytes on disk and in all."""

    there: int = 0
    total: int = 0
    doing: str = "asking the Hub"
    stopped: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise Stopped if the user has stopped the pull."""
        if self.stopped.is_set():
            raise Stopped


class HubClient:
    """Sends GET requests to the Hub at `endpoint`. token: sent to that origin and to no other; None for none."""

    def __init__(self, progress: Progress) -> None:
        import httpx2
        from huggingface_hub import constants

        self.endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
        self.token: str | None = None
        self.progress = progress
        self._answered = False
        timeout = httpx2.Timeout(constants.HF_HUB_DOWNLOAD_TIMEOUT, connect=CONNECT_S)
        # Compressed bytes would have neither the length nor the ranges of the file.
        headers = {"User-Agent": f"gemma/{__version__}", "Accept-Encoding": "identity"}
        try:
            self._origin = _origin(httpx2.URL(self.endpoint))
            self._client = httpx2.Client(timeout=timeout, headers=headers)
        except (httpx2.InvalidURL, ImportError, ValueError) as error:  # the last two: kinds of proxy it does not know
            raise GemmaError(f"HF_ENDPOINT or a proxy variable is not a usable address ({error})") from None
        if self._origin[0] not in ("http", "https") or not self._origin[1]:
            raise GemmaError(f"HF_ENDPOINT: {self.endpoint} is not an address; write an address such as {HUB}")

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    @contextmanager
    def get(self, url: str, headers: dict[str, str] | None = None) -> Iterator[httpx2.Response]:
        """Yield the response with its body unread; raises Refused, Transient or HubError for everything but 2xx.

        Failures while the body is read become Transient too.
        """
        import httpx2

        try:
            response = self._follow(httpx2.URL(url), headers or {})
            self._answered = True
            try:
                _check(response)
                yield response
            finally:
                response.close()
        except httpx2.ConnectError as error:
            host = self._origin[1]
            raise Transient(f"{host} cannot be reached ({_reason(error)})", connected=self._answered) from None
        except httpx2.TimeoutException:
            raise Transient("the server sent nothing", connected=self._answered) from None
        except (httpx2.LocalProtocolError, UnicodeEncodeError):  # whose messages hold the token
            raise GemmaError(
                "the token for the Hub cannot be sent in a request: correct HF_TOKEN, or run hf auth login"
            ) from None
        except httpx2.TransportError as error:
            raise Transient(_reason(error) or "the connection broke", connected=self._answered) from None
        except httpx2.InvalidURL as error:
            raise GemmaError(f"{self.endpoint}: not an address ({error}); check HF_ENDPOINT") from None

    def persist(self, work: Callable[[], T], position: Callable[[], int] = lambda: 0) -> T:
        """Return what `work` returns; repeat it while it raises Transient and `position` (bytes) still grows.

        Raises HubError after TRIES failures without a new byte.
        """
        failures, reached = 0, position()
        while True:
            self.progress.check()
            try:
                return work()
            except Transient as error:
                failures = 1 if position() > reached else failures + 1
                reached = position()
                # An offline machine gets the error at once: only a connection that worked before may come back.
                if failures == TRIES or not error.connected:
                    raise HubError(str(error)) from None
                self._pause(error, BACKOFF_S * 2 ** (failures - 1))

    def _pause(self, error: Transient, seconds: float) -> None:
        seconds = seconds if error.pause is None else error.pause
        if seconds > LONGEST_PAUSE_S:
            raise HubError(f"{error}, and the server asks for a pause of {seconds / 60:.0f} minutes") from None
        doing, self.progress.doing = self.progress.doing, f"{error}; gemma tries again in {seconds:.0f} s"
        self.progress.stopped.wait(seconds)
        self.progress.doing = doing

    def _follow(self, url: httpx2.URL, headers: dict[str, str]) -> httpx2.Response:
        """Send, and follow redirects by hand: each is a request of its own, with the token for our origin alone."""
        for _ in range(REDIRECTS + 1):
            token = {"Authorization": f"Bearer {self.token}"} if self.token and _origin(url) == self._origin else {}
            request = self._client.build_request("GET", url, headers=headers | token)
            response = self._client.send(request, stream=True)
            if not response.has_redirect_location:
                return response
            response.close()
            target = url.join(response.headers["Location"])
            if target.scheme not in ("https", "http") or (url.scheme, target.scheme) == ("https", "http"):
                raise HubError(f"the Hub redirects to {target.scheme}://{target.host}, which is less secure")
            url = target
        raise HubError(f"the Hub redirects more than {REDIRECTS} times")


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _check(response: httpx2.Response) -> None:
    status = response.status_code
    if status in (401, 403, 404):
        raise Refused(status, response.headers.get("X-Error-Code", ""))
    if status in (408, 425, 429) or status >= 500:
        raise Transient(f"the Hub answered {status}", retry_after(response.headers.get("Retry-After", "")))
    if status == 416:
        return  # the caller knows which range it asked for
    if not response.is_success:
        raise HubError(f"the Hub answered {status}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise HubError("the server sent a web page instead of the file: check for a proxy or a login page")


def retry_after(value: str) -> float | None:
    """Return the seconds of a Retry-After header, which holds a number or a date; None where it holds neither."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):  # absent, malformed, or a date without a time zone
        return None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
