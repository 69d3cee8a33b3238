"""`gemma models`: the checkpoints on this disk and those that could be; `pull` fetches one, `remove` removes it,
`quantize` saves its quantized weights, and `calibrate` its figures for word times."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gemma_cli.common.notices import notice
from gemma_cli.common.options import Json, examples
from gemma_cli.core.engine import Quantization
from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.media.input_files import sound_files
from gemma_cli.store.models.calibrations import SavedCalibration, described, remove_calibrations, saved_calibrations
from gemma_cli.store.models.catalogue import Entry, catalogue
from gemma_cli.store.models.checkpoints import chosen_by, resolve
from gemma_cli.store.models.releases import DRAFTER, size
from gemma_cli.store.models.saved_weights import SavedWeights, remove_saved, saved_weights
from gemma_cli.views.sanitize import safe_json, safe_line

app = typer.Typer(
    add_completion=False,
    invoke_without_command=True,
    epilog=examples("gemma models", "gemma models --json", "gemma models pull e2b", "gemma models quantize e2b --int4"),
)


@app.callback()
def models(context: typer.Context, as_json: Json = False) -> None:
    """List the Gemma 4 models that are on this disk or can be downloaded. This command downloads nothing."""
    if context.invoked_subcommand is None:
        entries, saved, calibrations = catalogue(), saved_weights(), saved_calibrations()
        if as_json:
            print(_as_json(entries, saved, calibrations))
            return
        print(_table(entries))
        if saved:
            print(f"\n{_saved_table(saved)}")
        if calibrations:
            print(f"\n{_calibrations_table(calibrations)}")


@app.command(epilog=examples("gemma models pull e2b", "gemma models pull google/gemma-4-E4B-it"))
def pull(
    name: Annotated[
        str, typer.Argument(metavar="ID", help="Model: e2b, e4b, 12b, 26b-a4b, 31b, or any Hugging Face id.")
    ],
) -> None:
    """Download a model and its drafter from the Hugging Face Hub into the local cache.

    An interrupted download continues where it stopped. The checksum of each file is compared with the Hub's checksum.
    """
    from gemma_cli.common.download_progress import fetched

    for folder in fetched(name):
        print(safe_line(str(folder)))


@app.command(epilog=examples("gemma models quantize e2b --int4", "gemma models quantize ./my-gemma --int8"))
def quantize(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="Model: e2b, e4b, 12b, 26b-a4b, 31b, the Hugging Face id of a downloaded model, or a folder.",
        ),
    ],
    int4: Annotated[bool, typer.Option("--int4", help="Save the weights as 4-bit integers.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Save the weights as 8-bit integers.")] = False,
) -> None:
    """Quantize a model now and save the weights, so that the first start with --quantize is fast."""
    chosen: dict[Quantization, bool] = {"int4": int4, "int8": int8}
    formats = [form for form, asked in chosen.items() if asked]
    if not formats:
        raise UsageError("name a format: --int4, --int8 or both")
    from gemma_cli.engines.local.loading.packed.ahead import save

    for form in formats:
        print(safe_line(save(name, form)))


@app.command(epilog=examples("gemma models calibrate e4b interview.wav", "gemma models calibrate e2b recordings/"))
def calibrate(
    name: Annotated[
        str,
        typer.Argument(metavar="ID", help="Model: e2b, e4b, the Hugging Face id of a downloaded model, or a folder."),
    ],
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Recordings of speech, without transcripts.")],
) -> None:
    """Measure how the attention of a model follows speech, so that word times become more exact.

    Ten minutes of speech with pauses are enough. The figures are saved in the cache and used from then on.
    """
    from gemma_cli.speech.word_times.calibrate import calibrated

    print(safe_line(calibrated(name, sound_files(files))))


@app.command(epilog=examples("gemma models remove e2b", "gemma models remove e2b --quantized"))
def remove(
    name: Annotated[
        str, typer.Argument(metavar="ID", help="Model: e2b, e4b, 12b, 26b-a4b, 31b, or any Hugging Face id.")
    ],
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Remove only the partial files of unfinished downloads.")
    ] = False,
    quantized: Annotated[
        bool, typer.Option("--quantized", help="Remove only the saved quantized weights of the model.")
    ] = False,
) -> None:
    """Remove a model and its drafter from the Hugging Face cache. Other programs may use the same cache.

    <<<<<<< HEAD
        The saved quantized weights of the model are removed too.
    =======
        Its saved quantized weights and its calibration go with it.
    >>>>>>> main
    """
    from gemma_cli.store.models import removal

    if unfinished and quantized:
        raise UsageError(
            "--unfinished and --quantized cannot be combined: give "
            "one of them, or neither to remove all files of the model"
        )
    freed = remove_saved(name) if quantized else removal.remove(name, unfinished)
    if quantized and not freed:
        raise UsageError(f"no quantized weights of {name} are saved: gemma models lists all saved weights")
    if not quantized and not unfinished:
        freed += remove_saved(name)
        remove_calibrations(name)
    print(f"{size(freed)} freed")


def _as_json(entries: list[Entry], saved: list[SavedWeights], calibrations: list[SavedCalibration]) -> str:
    rows = [vars(entry) | {"folder": str(entry.folder) if entry.folder else None} for entry in entries]
    quantized = [vars(one) | {"file": str(one.file)} for one in saved]
    calibrated = [{"model": one.model, **vars(one.calibration), "file": str(one.file)} for one in calibrations]
    values = {"models": rows, "quantized": quantized, "calibrated": calibrated}
    return safe_json(json.dumps(values, ensure_ascii=False))


def _saved_table(saved: list[SavedWeights]) -> str:
    """Quantized weights, one file a line."""
    width = max(len(one.model) for one in saved)
    lines = [f"   {one.model.ljust(width)}  {one.quantize}  {size(one.size)}" for one in saved]
    return "\n".join(safe_line(line) for line in ("   quantized weights that are saved for faster starts", *lines))


def _calibrations_table(calibrations: list[SavedCalibration]) -> str:
    """Calibrations of word times, one checkpoint a line."""
    width = max(len(one.model) for one in calibrations)
    lines = [f"   {one.model.ljust(width)}  {described(one.calibration)}" for one in calibrations]
    return "\n".join(safe_line(line) for line in ("   word times, calibrated", *lines))


def _table(entries: list[Entry]) -> str:
    """Targets only, one a line; the one that runs when --model is not given has a star, if it is on this machine."""
    chosen = _chosen()
    rows = [("", "--model", "checkpoint", "on this disk", "drafter")]
    partial = [entry for entry in entries if entry.kind == "drafter" and entry.state == "partial"]
    drafters = {entry.name.removesuffix(DRAFTER): _state(entry) for entry in partial}
    for entry in entries:
        if entry.kind == "target":
            star = "*" if entry.name == chosen else ""
            absent = drafters.get(entry.name, "-" if entry.state == "absent" else "no")
            drafter = "yes" if entry.has_drafter else absent
            rows.append((star, entry.alias or entry.name, entry.name, _state(entry), drafter))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(safe_line(line.rstrip()) for line in lines)


def _chosen() -> str | None:
    """The model that runs when --model is not given; None, with a notice, where there is no such model here."""
    source = None
    try:
        source = chosen_by()
        return resolve().name
    except GemmaError as error:
        notice(f"no default model: {f'{source}: ' if source else ''}{error}")
        return None


def _state(entry: Entry) -> str:
    match entry.state:
        case "absent":
            return f"no, {size(entry.download)} to fetch" if entry.download else "no"
        case "partial":
            there = (entry.size or 0) + (entry.unfinished or 0)
            return f"a part, {size(there)}" + (f" of {size(entry.download)}" if entry.download else "")
        case _:
            return size(entry.size) + (f", and {size(entry.unfinished)} unfinished" if entry.unfinished else "")
