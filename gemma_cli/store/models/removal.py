"""`gemma models remove`: what can be fetched again, out of the Hugging Face cache."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.store.models import hub
from gemma_cli.store.models.download import names_of
from gemma_cli.store.models.transfer import SUFFIX


def remove(name: str, unfinished: bool = False) -> int:
    """Remove a checkpoint and, of a release, its drafter; returns the bytes freed.

    unfinished: only the files that were not fetched to their end. Raises UsageError where there is nothing to remove,
    GemmaError while a download of it is under way.
    """
    found = [folder for each in names_of(name) if (folder := hub.repository(each)).is_dir()]
    if not found:
        raise UsageError(f"{name} is not on this machine: gemma models lists the downloaded models")
    freed = 0
    for repository in found:
        with ExitStack() as locks:
            _lock(repository, name, locks)
            partial = list(repository.glob(f"blobs/*{SUFFIX}"))
            files = partial if unfinished else [path for path in repository.rglob("*") if not path.is_symlink()]
            freed += sum(path.stat().st_size for path in files if path.is_file())
            try:
                if not unfinished:
                    shutil.rmtree(repository)
                for path in partial if unfinished else ():
                    path.unlink()
            except OSError as error:
                raise GemmaError(f"{error.filename}: the file cannot be removed ({error.strerror})") from None
    return freed


def _lock(repository: Path, name: str, locks: ExitStack) -> None:
    """Take the locks of all downloads that there were. Raises GemmaError if one of them is still under way."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    for lock in (repository.parent / ".locks" / repository.name).glob("*.lock"):
        try:
            locks.enter_context(WeakFileLock(lock, timeout=0.2))
        except TimeoutError:
            raise GemmaError(f"{name} is being downloaded: stop the download first") from None
