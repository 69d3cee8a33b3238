"""One file from the Hub to the disk: resumed where an earlier try stopped, and hashed as it arrives.

What has arrived lies in BLOB.incomplete. The name is the one that huggingface_hub gave such files before version 2.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from gemma_cli.store.models.hub_client import HubClient, HubError, Progress, Transient

if TYPE_CHECKING:
    import httpx2

SUFFIX = ".incomplete"
_CHUNK = 1 << 20
_ABANDONED_S = 3600.0
"""Age at which a partial file of huggingface_hub's, whose name it never uses again, counts as left behind."""


@dataclass(frozen=True)
class File:
    """A file that the Hub lists. digest: SHA-256 of an LFS file, SHA-1 of the git blob otherwise; hex."""

    name: str
    size: int
    digest: str


def transfer(client: HubClient, url: str, file: File, blob: Path) -> None:
    """Bring a file to `blob`, complete and with its digest. Waits while another process does that.

    Raises Refused, Stopped, HubError or OSError; what has arrived stays for the next call.
    """
    with _locked(blob, client.progress):
        if complete(blob, file):
            client.progress.there += file.size
            return
        _remove_abandoned(blob)
        for _ in range(2):
            if _arrived(client, url, file, blob):
                return
    raise HubError(f"{file.name} was damaged in two downloads: the checksum differs from the checksum on the Hub")


def _arrived(client: HubClient, url: str, file: File, blob: Path) -> bool:
    """Complete the partial file and make it the blob; a partial file with the wrong digest is removed."""
    path = partial_path(blob)
    with Partial(path, file, client.progress) as partial:
        client.persist(lambda: _continue(client, url, partial), lambda: partial.there)
        right = partial.digest() == file.digest
        if right:
            os.fsync(partial.fileno())
    if right:
        path.replace(blob)
    else:
        path.unlink()
        client.progress.there -= file.size
    return right


class Partial:
    """The first bytes of a file, on disk and hashed."""

    def __init__(self, path: Path, file: File, progress: Progress) -> None:
        self.file, self.there = file, 0
        self.ranged = True  # until the server has shown that it cannot continue in the middle
        self._progress = progress
        self._hash = hashlib.sha256()
        if len(file.digest) == 40:
            self._hash = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
        # Unbuffered: what has arrived is in the file even if the process is killed at once.
        self._out = path.open("r+b" if path.exists() else "w+b", buffering=0)
        if os.fstat(self._out.fileno()).st_size > file.size:
            self._out.truncate(0)
        while chunk := self._out.read(_CHUNK):
            progress.check()
            self._count(chunk)

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()

    def fileno(self) -> int:
        """Descriptor of the partial file."""
        return self._out.fileno()

    def write(self, chunk: bytes) -> None:
        """Append, but never more than the file's size: the digest decides about the rest."""
        rest = memoryview(chunk)[: self.file.size - self.there]
        while rest:
            written = self._out.write(rest)
            self._count(rest[:written])
            rest = rest[written:]

    def digest(self) -> str:
        """Digest of the bytes so far, in hex."""
        return self._hash.hexdigest()

    def _count(self, chunk: bytes | memoryview) -> None:
        self._hash.update(chunk)
        self.there += len(chunk)
        self._progress.there += len(chunk)


def _continue(client: HubClient, url: str, partial: Partial) -> None:
    """Fetch what is missing. Raises Transient if the server stops early or answers with something else."""
    if partial.there == partial.file.size:
        return
    client.progress.doing = partial.file.name
    wanted = partial.ranged and partial.there > 0
    with client.get(url, {"Range": f"bytes={partial.there}-"} if wanted else {}) as response:
        first = _first_byte(response, partial)
        known = partial.there - first
        # A body that is read to its end leaves the connection to the next file; one without an end is left.
        ends = response.headers.get("Content-Length") == str(partial.file.size - first)
        for chunk in response.iter_raw():
            client.progress.check()
            partial.write(chunk[known:])
            known = max(0, known - len(chunk))
            if partial.there == partial.file.size and not ends:
                return
    if partial.there == partial.file.size:
        return
    raise Transient(f"the connection broke after {partial.there:,} of {partial.file.size:,} bytes")


def _first_byte(response: httpx2.Response, partial: Partial) -> int:
    """Position in the file of the first byte of the body: 0, or where the partial file ends.

    A server that ignores Range sends everything; what is on disk is then skipped, not given up, because the connection
    may break again. A server that sends another range than the one asked for is not asked for a range again.
    """
    size, headers = partial.file.size, response.headers
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Transient("the server sends a compressed file although gemma asked for an uncompressed file")
    if response.status_code == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
        if found and int(found[1]) == partial.there and found[2] in ("*", str(size)):
            return partial.there
    elif response.status_code == 200 and headers.get("Content-Length", str(size)) == str(size):
        return 0
    partial.ranged = False
    raise Transient(f"the size of {partial.file.name} on the server differs from the size that the Hub lists")


def complete(path: Path, file: File) -> bool:
    """Return whether a blob, or a link to one, has the size that the Hub lists."""
    return path.is_file() and path.stat().st_size == file.size


def partial_path(blob: Path) -> Path:
    """Return the path of an unfinished blob."""
    return blob.with_name(blob.name + SUFFIX)


@contextmanager
def _locked(blob: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock that huggingface_hub takes for the same blob."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    repository = blob.parents[1]
    lock = repository.parent / ".locks" / repository.name / f"{blob.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        while True:
            progress.check()
            try:
                held.enter_context(WeakFileLock(lock, timeout=0.2))
                break
            except TimeoutError:
                progress.doing = "waiting for another process that is downloading this model"
        yield


def _remove_abandoned(blob: Path) -> None:
    """Remove huggingface_hub's partial files of this blob, BLOB.RANDOM.incomplete, once nobody writes to them."""
    for path in blob.parent.glob(f"{blob.name}.*{SUFFIX}"):
        with suppress(OSError):
            if time() - path.stat().st_mtime > _ABANDONED_S:
                path.unlink()
