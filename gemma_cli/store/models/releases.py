"""Google's instruction-tuned Gemma 4 checkpoints: names, aliases, sizes."""

from __future__ import annotations

from gemma_cli.core.records import dataclass

POCKET = "pocket"
"""The checkpoint that is part of the package."""

DRAFTER = "-assistant"
"""Suffix of a drafter's name after the name of its target: for hub ids, aliases and folders."""

PACKED, UNQUANTIZED = "-qat-w4a16-ct", "-qat-q4_0-unquantized"
"""Suffixes of Google's QAT checkpoints: weights of four bits, and bfloat16 ones to be rounded to such."""

GB = 10**9


@dataclass(frozen=True)
class Release:
    """Bytes: of the download, of its drafter's, and needed to run it in bfloat16.

    Downloads are the Hub's listings; memory is the table on ai.google.dev/gemma/docs/core, without the KV cache.
    """

    alias: str
    name: str
    download: int
    drafter_download: int
    memory: int


RELEASES = tuple(
    Release(alias, name, *(round(size * GB) for size in sizes))
    for alias, name, *sizes in (
        ("e2b", "google/gemma-4-E2B-it", 10.2, 0.16, 11.4),
        ("e4b", "google/gemma-4-E4B-it", 16, 0.16, 17.9),
        ("12b", "google/gemma-4-12B-it", 24, 0.8, 26.7),
        ("26b-a4b", "google/gemma-4-26B-A4B-it", 51.6, 0.8, 57.7),
        ("31b", "google/gemma-4-31B-it", 62.6, 1.0, 69.9),
    )
)
"""From least to most able."""

_NAMES = {release.alias: release.name for release in RELEASES}
_NAMES |= {alias + DRAFTER: name + DRAFTER for alias, name in _NAMES.items()}
_ALIASES = {name: alias for alias, name in _NAMES.items()}
_IN_ANY_CASE = {key.casefold(): name for alias, name in _NAMES.items() for key in (alias, name)}
_DOWNLOADS = {release.name: release.download for release in RELEASES} | {
    release.name + DRAFTER: release.drafter_download for release in RELEASES
}


def full_name(name: str) -> str:
    """The hub id of an alias, or of a release's id in any case; other names as they are."""
    return _IN_ANY_CASE.get(name.casefold(), name)


def short_name(name: str) -> str:
    """The alias of a hub id that has one; other names as they are."""
    return _ALIASES.get(name, name)


def drafter_names(name: str) -> tuple[str, ...]:
    """Return possible names of a model's drafter, the best match first."""
    stem = name.removesuffix(PACKED)
    names = [name, *((stem + UNQUANTIZED, stem) if stem != name else ())]
    if name.endswith(UNQUANTIZED):
        names.append(name.removesuffix(UNQUANTIZED))
    return tuple(each + DRAFTER for each in names)


def download_size(name: str) -> int | None:
    """Bytes that pulling this hub id takes, roughly; None where unknown."""
    return _DOWNLOADS.get(name)


def gigabytes(size: int) -> str:
    return f"{size / GB:.3g} GB"


def size(count: int | None) -> str:
    """Format bytes in powers of ten, as the Hub does."""
    if count is None:
        return "-"
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"
