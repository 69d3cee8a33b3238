"""`gemma models pull`: the one thing in the package that fetches from the Hugging Face Hub."""

from __future__ import annotations

import errno
import fnmatch
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.store import hub
from gemma_cli.store.checkpoints import HUB_ID
from gemma_cli.store.paths import hub_cache
from gemma_cli.store.releases import DRAFTER, POCKET, RELEASES, full_name, gigabytes

_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
"""Of the top folder only. Pickled weights and code are never fetched."""


def pull(name: str) -> list[Path]:
    """Fetch a checkpoint and, for a release, its drafter into the Hugging Face cache; returns their folders.

    Goes on where an earlier pull stopped. A token is sent only where the Hub refuses without one. Raises UsageError
    for a name the Hub does not know, GemmaError for everything else that stops it.
    """
    name = full_name(name.strip())
    if name in (POCKET, POCKET + DRAFTER):
        raise UsageError(f"{name} is part of this installation: there is nothing to fetch")
    if not HUB_ID.fullmatch(name):
        raise UsageError(f"{name!r} cannot be fetched; give a hub id or one of {', '.join(r.alias for r in RELEASES)}")
    names = [name, name + DRAFTER] if name in {release.name for release in RELEASES} else [name]
    with _online():
        return [_fetch(each) for each in names]


def _fetch(name: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        try:
            _download(name, token=False)
        except RepositoryNotFoundError:  # what the Hub also says of private models; GatedRepoError is one
            token = huggingface_hub.get_token()
            if not token:
                raise
            _download(name, token)
    except GatedRepoError:
        page = f"https://huggingface.co/{name}"
        raise GemmaError(f"{name} is gated: accept its licence at {page}, then run hf auth login") from None
    except RepositoryNotFoundError:
        raise UsageError(f"{name} is not on the Hugging Face Hub, or private: then run hf auth login") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise GemmaError(f"{name}: the Hub answered {status}; pull again to go on where this stopped") from None
    except GemmaError:
        raise
    except Exception as error:  # connections, the Xet client and the disk fail in ways of their own
        raise GemmaError(f"{name} was not fetched: {_reason(error)}; pull again to go on where this stopped") from None
    found = hub.find(name)
    if not found or not found.complete:
        raise GemmaError(f"{name}: the repository holds no complete checkpoint in safetensors")
    return found.folder


def _download(name: str, token: str | bool) -> None:
    import huggingface_hub

    endpoint = os.environ.get("HF_ENDPOINT")
    # Asked first because snapshot_download takes what is on disk, however little, for the answer when the Hub is away.
    info = huggingface_hub.HfApi(endpoint=endpoint, token=token).model_info(name, files_metadata=True)
    _check_space(name, info)
    huggingface_hub.snapshot_download(
        name,
        cache_dir=hub_cache(),
        endpoint=endpoint,
        token=token,
        allow_patterns=list(_FILES),
        ignore_patterns=["*/*"],
    )


def _check_space(name: str, info: Any) -> None:
    """Refuse before the first byte what the disk cannot hold."""
    cache = hub_cache()
    snapshot = cache / f"models--{name.replace('/', '--')}" / "snapshots" / str(info.sha)
    wanted = (
        file
        for file in info.siblings or ()
        if "/" not in file.rfilename and any(fnmatch.fnmatch(file.rfilename, pattern) for pattern in _FILES)
    )
    missing = sum(file.size or 0 for file in wanted if not (snapshot / file.rfilename).exists())
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if missing > free:
        raise GemmaError(
            f"{name} needs {gigabytes(missing)} and {existing} has {gigabytes(free)} left; HF_HOME moves it"
        )


@contextmanager
def _online() -> Iterator[None]:
    """The command line keeps huggingface_hub offline; only here it may use the network. No bars off a terminal."""
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars  # type: ignore[attr-defined]

    offline, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, False
    quiet = not sys.stderr.isatty()
    if quiet:
        disable_progress_bars()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        if quiet:
            enable_progress_bars()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return " ".join(str(error).split())[:200] or type(error).__name__
