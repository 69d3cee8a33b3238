"""Checks of the Python packages that gemma uses."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gemma_cli.commands.doctor_parts.check import Check
from gemma_cli.core.errors import UsageError

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

DISTRIBUTION = "gemma-cli"

EXTRAS = {
    "video": "reading videos, and sound in M4A and WebM",
    "mcp": "calling tools of MCP servers in gemma chat",
    "pdf": "reading PDF documents in gemma chat",
    "schema": "writing answers that match a JSON schema",
    "plot": "gemma bench --plot and --report",
    "quality": "gemma bench --task",
    "mic": "gemma transcribe --mic",
}
"""Purpose of each extra, except the one for developers."""


def dependencies() -> Iterator[Check]:
    """Each package gemma asks for, held against the range in which it is known to work."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or ()
    except importlib.metadata.PackageNotFoundError:
        yield Check("packages", "unknown: gemma-cli is not installed as a package", None, "pip install it")
        return
    for line in lines:
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            yield _package(wanted.name, wanted.specifier) or Check(
                wanted.name, "missing", False, f"pip install '{wanted.name}{wanted.specifier}'"
            )


def extras() -> Iterator[Check]:
    """Yield checks of optional packages: a missing one is no failure, a wrong version is."""
    from packaging.requirements import Requirement

    try:
        found = importlib.metadata.metadata(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return
    for extra in found.get_all("Provides-Extra") or ():
        for line in found.get_all("Requires-Dist") or () if extra in EXTRAS else ():
            wanted = Requirement(line)
            marker = wanted.marker
            if marker is None or marker.evaluate({"extra": ""}) or not marker.evaluate({"extra": extra}):
                continue
            missing = f"not installed, but needed for {EXTRAS[extra]}: pip install '{DISTRIBUTION}[{extra}]'"
            yield _package(wanted.name, wanted.specifier) or Check(wanted.name, missing)
            if extra == "mic" and _version(wanted.name):
                yield _microphone()


def _package(name: str, wanted: SpecifierSet) -> Check | None:
    """Check the version of an installed package; None if it is missing."""
    version = _version(name)
    if version is None:
        return None
    fits = wanted.contains(version, prereleases=True)
    return Check(name, version, fits, None if fits else f"pip install '{name}{wanted}'")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _microphone() -> Check:
    from gemma_cli.media.sound.microphone import check_microphone

    try:
        check_microphone()
    except UsageError as error:
        return Check("microphone", str(error))
    return Check("microphone", "there is one", True)
