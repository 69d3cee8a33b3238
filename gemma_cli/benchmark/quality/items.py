"""Data sets with references: JSONL, and the TSV files of Common Voice, CoVoST 2 and FLEURS as they are published."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gemma_cli.core.errors import InputError
from gemma_cli.media.files import open_input
from gemma_cli.media.samples import is_sample

TaskName = Literal["transcribe", "translate", "chat"]

MOST_BYTES = 256 << 20
"""The largest list of clips that Common Voice publishes is smaller."""

FORMS = {
    "transcribe": '{"audio": FILE, "text": TRANSCRIPT}',
    "translate": '{"audio": FILE, "translation": TEXT} or {"text": TEXT, "translation": TEXT}',
    "chat": '{"prompt": TEXT, "answer": TEXT}',
}
"""A line of JSONL for each task."""

_COVOST_NAME = re.compile(r"covost_v2\.(?P<source>[\w-]+)_(?P<target>[\w-]+)\.", re.ASCII)
_FLEURS_COLUMNS = 7  # id, file name, raw transcription, transcription, characters, samples, gender


@dataclass(frozen=True)
class Item:
    """One question with its right answer. text: to translate, or the prompt of a chat; None where audio is given."""

    reference: str
    audio: str | None = None
    text: str | None = None


@dataclass(frozen=True)
class DataSet:
    """Items, and the languages where the file tells them, as codes."""

    items: tuple[Item, ...]
    source: str | None = None
    target: str | None = None


def read_items(path: Path, task: TaskName, limit: int | None = None) -> DataSet:
    """Read the first `limit` items of a JSONL or TSV file; sound is looked for next to it. Raises InputError."""
    with open_input(path) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: the file is larger than {MOST_BYTES >> 20} MiB; split the file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8; convert it") from None
    if path.suffix.lower() == ".tsv":
        return _from_tsv(path, text, task, limit)
    lines = ((f"{path}:{number}", line) for number, line in enumerate(text.splitlines(), 1) if line.strip())
    return _checked(path, task, [_from_json(line, where, path.parent, task) for where, line in _first(lines, limit)])


def _first(lines: Iterator[Any], limit: int | None) -> list[Any]:
    return [line for _, line in zip(range(limit), lines, strict=False)] if limit is not None else list(lines)


def _checked(
    path: Path, task: TaskName, items: list[Item], source: str | None = None, target: str | None = None
) -> DataSet:
    if not items:
        raise InputError(f"{path}: the file has no items; for --task {task}, write one {FORMS[task]} per line")
    return DataSet(tuple(items), source, target)


def _from_json(line: str, where: str, folder: Path, task: TaskName) -> Item:
    try:
        entry = json.loads(line)
    except ValueError:
        raise InputError(f"{where}: not JSON; each line must be {FORMS[task]}") from None
    fields = entry if isinstance(entry, dict) else {}
    audio, text = fields.get("audio"), fields.get("prompt" if task == "chat" else "text")
    reference = fields.get({"transcribe": "text", "translate": "translation", "chat": "answer"}[task])
    needed = {"transcribe": audio, "translate": audio or text, "chat": text}[task]
    if not all(isinstance(value, str) and value.strip() for value in (reference, needed)):
        raise InputError(f"{where}: each line must be {FORMS[task]}")
    if isinstance(audio, str) and task != "chat":
        return Item(str(reference), audio=audio if is_sample(audio) else str(folder / audio))
    return Item(str(reference), text=str(text))


def _from_tsv(path: Path, text: str, task: TaskName, limit: int | None) -> DataSet:
    if task == "chat":
        raise InputError(
            f"{path}: --task chat cannot read TSV files; write a JSONL file with {FORMS[task]} on each line"
        )
    rows = csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    head = next(rows, [])
    if "path" in head and "sentence" in head:
        return _from_clips(path, head, rows, task, limit)
    if len(head) >= _FLEURS_COLUMNS - 1 and head[1].lower().endswith(".wav"):
        return _from_fleurs(path, [head, *rows], task, limit)
    raise InputError(
        f"{path}: not a table of Common Voice, CoVoST 2 or FLEURS (unknown columns in the first line); "
        "give such a table, or JSONL"
    )


def _from_clips(path: Path, head: list[str], rows: Iterator[list[str]], task: TaskName, limit: int | None) -> DataSet:
    """Common Voice (path, sentence, locale, ...) and CoVoST 2 (path, sentence, translation, client_id)."""
    wanted = "sentence" if task == "transcribe" else "translation"
    if wanted not in head:
        raise InputError(f"{path}: the table has no column '{wanted}'; for translations, use a table of CoVoST 2")
    entries = [dict(zip(head, row, strict=False)) for row in _first(rows, limit)]
    items = [
        Item(entry[wanted], audio=_sound(path.parent, entry["path"], "clips"))
        for entry in entries
        if entry.get(wanted, "").strip()
    ]
    named = _COVOST_NAME.match(path.name)
    source = named["source"] if named else next((entry["locale"] for entry in entries if entry.get("locale")), None)
    return _checked(path, task, items, source, named["target"] if named else None)


def _from_fleurs(path: Path, rows: list[list[str]], task: TaskName, limit: int | None) -> DataSet:
    if task == "translate":
        raise InputError(
            f"{path}: a FLEURS table has only one language; join the tables of two languages by id into a JSONL file"
        )
    named = _first((row for row in rows if len(row) >= _FLEURS_COLUMNS - 1 and row[2].strip()), limit)
    found = [Item(row[2], audio=_sound(path.parent, row[1], f"audio/{path.stem}", path.stem, "audio")) for row in named]
    return _checked(path, task, found, path.parent.name.partition("_")[0] or None)


def _sound(folder: Path, name: str, *below: str) -> str:
    """Return the first of the places where a clip may lie that has it; else the first, of which opening complains."""
    name = name if Path(name).suffix else f"{name}.mp3"
    places = [folder / each / name for each in below] + [folder / name]
    return str(next((place for place in places if place.is_file()), places[0]))
