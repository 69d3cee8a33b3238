"""`gemma models pull`: the one thing in the package that fetches from the Hugging Face Hub."""

from __future__ import annotations

import errno
import fnmatch
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.store.atomic_write import write_whole
from gemma_cli.store.models import hub, offline
from gemma_cli.store.models.checkpoints import HUB_ID
from gemma_cli.store.models.hub_client import HUB, HubClient, HubError, Progress, Refused
from gemma_cli.store.models.releases import DRAFTER, POCKET, RELEASES, full_name, gigabytes
from gemma_cli.store.models.transfer import File, complete, partial_path, transfer
from gemma_cli.store.paths import hub_cache

T = TypeVar("T")

_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
"""Patterns of files to download, of the top folder only; pickled weights and code are never downloaded."""

_NAME = re.compile(r"[\w.][\w.+ -]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""Pattern of names that may become part of a path. Digests are SHA-1 or SHA-256."""

_LISTING_LIMIT = 32 << 20  # bytes


@dataclass(frozen=True)
class Listing:
    """The wanted files of a repository at one commit."""

    name: str
    commit: str
    files: tuple[File, ...]

    @property
    def repository(self) -> Path:
        """Its folder in the cache."""
        return hub.repository(self.name)

    def blob(self, file: File) -> Path:
        """Return the path for the content of a file."""
        return self.repository / "blobs" / file.digest

    @property
    def snapshot(self) -> Path:
        """The folder in which its files are found under their names."""
        return self.repository / "snapshots" / self.commit

    def pointer(self, file: File) -> Path:
        """Return the path of the file under its name."""
        return self.snapshot / file.name

    def missing(self) -> list[File]:
        """Files that are not there in full, the small ones first."""
        absent = (file for file in self.files if not complete(self.pointer(file), file))
        return sorted(absent, key=lambda file: file.size)


def names_of(name: str) -> list[str]:
    """Return the hub ids for `name`: a release comes with its drafter. Raises UsageError."""
    name = full_name(name.strip())
    if name in (POCKET, POCKET + DRAFTER):
        raise UsageError(f"{name} is part of this installation and cannot be downloaded or removed")
    if not HUB_ID.fullmatch(name):
        raise UsageError(
            f"{name!r}: not a model; give a Hugging Face id, or one of {', '.join(r.alias for r in RELEASES)}"
        )
    return [name, name + DRAFTER] if name in {release.name for release in RELEASES} else [name]


def pull(name: str, progress: Progress | None = None) -> list[Path]:
    """Fetch a checkpoint and, for a release, its drafter into the Hugging Face cache; returns their folders.

    Continues inside a file where an earlier pull stopped. A token is sent only where the Hub refuses without one.
    Raises UsageError for a name the Hub does not know, GemmaError for everything else that stops it, and
    KeyboardInterrupt at once on Ctrl-C.
    """
    names = names_of(name)
    if variable := offline.forbidden_by():
        found = [hub.find(each) for each in names]
        folders = [entry.folder for entry in found if entry and entry.complete]
        if len(folders) < len(names):
            raise UsageError(f"{variable} forbids downloads: to download {name}, unset {variable}")
        return folders
    progress = progress or Progress()
    return _attended(partial(_pull, names, progress), progress)


def _attended(work: Callable[[], T], progress: Progress) -> T:
    """Run `work` in a thread of its own: the look-up of a host's name cannot be interrupted, but waiting for it can."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        while not outcome.done():
            wait([outcome], timeout=0.2)
    except BaseException:  # Ctrl-C, or a signal that ends the program
        progress.stopped.set()
        wait([outcome], timeout=0.3)
        raise
    return outcome.result()


def _pull(names: list[str], progress: Progress) -> list[Path]:
    with closing(HubClient(progress)) as client:
        try:
            return _fetch_all(client, names)
        except Refused as refused:
            client.token = _token()
            if client.token is None:
                raise _refusal(refused) from None
        try:
            return _fetch_all(client, names)
        except Refused as refused:
            raise _refusal(refused) from None


def _token() -> str | None:
    import huggingface_hub

    return huggingface_hub.get_token()


def _fetch_all(client: HubClient, names: list[str]) -> list[Path]:
    listings = []
    for name in names:
        with _about(name):
            listings.append(_listing(client, name))
    _check_space(listings)
    client.progress.total = sum(file.size for listing in listings for file in listing.files)
    client.progress.there = client.progress.total - sum(file.size for each in listings for file in each.missing())
    for listing in listings:
        with _about(listing.name):
            _fetch(client, listing)
    return [listing.snapshot for listing in listings]


@contextmanager
def _about(name: str) -> Iterator[None]:
    """Put the repository's name into what goes wrong with it."""
    try:
        yield
    except Refused as refused:
        refused.name = name
        raise
    except HubError as error:
        raise GemmaError(
            f"{name} was not downloaded completely: {error}; to continue, run the same command again"
        ) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = f"the disk of {hub_cache()} is full" if full else f"{hub_cache()}: {error.strerror or error}"
        raise GemmaError(
            f"{name} was not downloaded completely: {reason}; to continue, run the same command again"
        ) from None


def _refusal(refused: Refused) -> GemmaError:
    """The error for a repository that the Hub does not give to this user."""
    name, page = refused.name, f"{HUB}/{refused.name}"
    if refused.gated:
        return GemmaError(f"{name} requires a licence agreement: accept the licence at {page}, then run hf auth login")
    if refused.status == 403:
        return GemmaError(f"{name}: the Hub denies access (403); read {page}, and check the permissions of your token")
    return UsageError(
        f"{name} is not on the Hugging Face Hub, or private: check the name, or log in with hf auth login"
    )


def _listing(client: HubClient, name: str) -> Listing:
    """Ask the Hub for the commit of `main` and for the size and digest of each wanted file."""

    def ask() -> bytes:
        with client.get(f"{client.endpoint}/api/models/{name}?blobs=true") as response:
            body = b""
            for chunk in response.iter_raw():
                client.progress.check()
                body += chunk
                if len(body) > _LISTING_LIMIT:
                    raise HubError("the list of files from the Hub is too long")
            return body

    body = client.persist(ask)
    try:
        found = json.loads(body)
        files = tuple(_file(entry) for entry in found["siblings"] if _wanted(entry["rfilename"]))
        listing = Listing(name, str(found["sha"]), files)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise HubError("the list of files from the Hub cannot be read") from None
    if not _COMMIT.fullmatch(listing.commit):
        raise HubError("the list of files from the Hub cannot be read")
    names = {file.name for file in files}
    if "config.json" not in names or not names & {"model.safetensors", "model.safetensors.index.json"}:
        raise GemmaError(f"{name}: the repository has no complete checkpoint in safetensors; name another repository")
    return listing


def _wanted(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and any(fnmatch.fnmatch(name, pattern) for pattern in _FILES)


def _file(entry: Any) -> File:
    """Create a File from an entry of the Hub's list. Raises ValueError for an invalid entry."""
    lfs = entry.get("lfs") or {}
    size, digest = lfs.get("size", entry["size"]), lfs.get("sha256") or entry["blobId"]
    if not (isinstance(size, int) and size >= 0 and _DIGEST.fullmatch(digest)):
        raise ValueError(entry)
    return File(entry["rfilename"], size, digest)


def _check_space(listings: list[Listing]) -> None:
    """Refuse before the first byte what the disk cannot hold."""
    missing = sum(
        file.size - hub.size_of(partial_path(listing.blob(file)))
        for listing in listings
        for file in listing.missing()
        if not complete(listing.blob(file), file)
    )
    cache = hub_cache()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if missing > free:
        names = " with its drafter" if len(listings) > 1 else ""
        raise GemmaError(
            f"{listings[0].name}{names} needs {gigabytes(missing)}, but {existing} has only {gigabytes(free)} left; "
            "set HF_HOME to a folder on another disk"
        )


def _fetch(client: HubClient, listing: Listing) -> None:
    """Download the missing files of one repository; its `main` points to the commit only once all of it is there."""
    for folder in (listing.repository / "blobs", listing.snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    for file in listing.missing():
        url = f"{client.endpoint}/{listing.name}/resolve/{listing.commit}/{quote(file.name)}"
        try:
            transfer(client, url, file, listing.blob(file))
        except Refused as refused:
            if refused.status == 404:
                raise HubError(f"the Hub lists {file.name}, but the file is missing") from None
            raise
        _link(listing.blob(file), listing.pointer(file))
    if not hub.is_checkpoint(listing.snapshot):
        raise GemmaError(
            f"{listing.name}: the repository has no complete checkpoint in safetensors; name another repository"
        )
    write_whole(listing.repository / "refs" / "main", listing.commit)


def _link(blob: Path, pointer: Path) -> None:
    """Make `pointer` lead to `blob`; where the system has no links, the file itself moves there.

    The link is replaced in one step: another process may just be looking whether its checkpoint is complete.
    """
    fresh = pointer.with_name(f".{uuid4().hex}")
    try:
        fresh.symlink_to(os.path.relpath(blob, pointer.parent))
    except (OSError, NotImplementedError):
        if not pointer.exists():
            blob.replace(pointer)
    else:
        fresh.replace(pointer)
