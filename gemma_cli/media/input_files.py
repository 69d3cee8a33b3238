"""Input files from the command line: files, the contents of folders, and matches of patterns.

An http(s) address or a sample is one input, even if it contains pattern characters.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path, PurePath

from gemma_cli.core.errors import InputError
from gemma_cli.media.fetching.fetch import file_name, is_address
from gemma_cli.media.files import STDIN
from gemma_cli.media.samples import SCHEME, is_sample

_SOUNDS = (
    "wav flac ogg oga opus spx mp3 mp2 mpa aif aiff aifc au snd caf w64 rf64 voc m4a m4b m4r aac amr awb wma "
    "ac3 ec3 eac3 dts dtshd thd mlp wv tta ape tak mpc dsf mka ra "
)
_VIDEO_SUFFIXES = (
    "mp4 m4v mov qt mkv webm avi divx mpg mpeg vob ts mts m2t m2ts mxf dv flv f4v ogv ogm wmv asf rm rmvb wtv 3gp 3g2"
)
VIDEO = frozenset(f".{suffix}" for suffix in _VIDEO_SUFFIXES.split())
SOUND = VIDEO | {f".{suffix}" for suffix in _SOUNDS.split()}
_PICTURES = "png apng jpg jpeg jpe jfif webp gif bmp dib tif tiff avif heic heif jxl svg pdf"
PICTURES = frozenset(f".{suffix}" for suffix in _PICTURES.split())
_TEXTS = "txt md markdown srt vtt ass ssa sbv sub lrc ttml dfxp html htm xhtml po xlf xliff"
TEXT = frozenset(f".{suffix}" for suffix in _TEXTS.split())
"""Suffixes of files that are taken from a folder; a file given by name may have any suffix."""

TABLES = frozenset((".csv", ".tsv", ".json", ".jsonl", ".ndjson"))
"""Suffixes of data whose values are taken by name."""


@dataclass(frozen=True)
class InputFile:
    """A file to read. relative: its path from the folder where it was found, to name its output files."""

    path: str
    relative: PurePath


def sound_files(names: Iterable[str]) -> list[InputFile]:
    """The recordings that are named; see `files_meant`."""
    return files_meant(names, SOUND, "sound files")


def picture_files(names: Iterable[str]) -> list[InputFile]:
    """The pictures that are named; see `files_meant`."""
    return files_meant(names, PICTURES, "pictures")


def video_files(names: Iterable[str]) -> list[InputFile]:
    """The videos that are named; see `files_meant`."""
    return files_meant(names, VIDEO, "videos")


def files_meant(names: Iterable[str], suffixes: Set[str], called: str) -> list[InputFile]:
    """Return the files that the given files, folders (recursively) and patterns stand for, in order, without
    duplicates.

    suffixes: of what is taken from a folder, and what that is called. "-" is standard input. A file that does not exist
    is left for opening to complain of. Raises InputError for a folder or pattern with nothing in it.
    """
    return list({file.path: file for name in names for file in _meant(name, suffixes, called)}.values())


def _meant(name: str, suffixes: Set[str], called: str) -> list[InputFile]:
    if name == STDIN:
        return [InputFile(STDIN, PurePath("stdin"))]
    if is_address(name):
        return [InputFile(name, PurePath(file_name(name)))]
    if is_sample(name):
        return [InputFile(name, PurePath(name.removeprefix(SCHEME)))]
    if os.path.isdir(name):  # noqa: PTH112 - Path.is_dir raises for a name with a NUL on some versions
        found = sorted(_below(Path(name), suffixes), key=lambda file: file.path)
        if not found:
            raise InputError(f"{name}: the folder has no {called}")
        return found
    if glob.has_magic(name) and not os.path.lexists(name):
        matches = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
        if not matches:
            raise InputError(f"{name}: no file matches")
        return [file for match in matches for file in _meant(match, suffixes, called)]
    return [InputFile(name, PurePath(PurePath(name).name))]


def _below(folder: Path, suffixes: Set[str]) -> Iterator[InputFile]:
    """Files of that kind below a folder; hidden ones and linked folders are left out."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [inner for inner in folders if not inner.startswith(".")]
        for file in files:
            path = Path(parent) / file
            if path.suffix.lower() in suffixes and not file.startswith(".") and not _is_typescript(path):
                yield InputFile(str(path), path.relative_to(folder))


def _is_typescript(path: Path) -> bool:
    """Return whether a .ts or .mts file is source code: an MPEG transport stream has a sync byte at 0 or at 4."""
    if path.suffix.lower() not in (".ts", ".mts"):
        return False
    try:
        with path.open("rb") as file:
            head = file.read(5)
    except OSError:
        return False  # left for opening to complain of
    return bool(head) and head[:1] != b"G" and head[4:] != b"G"
