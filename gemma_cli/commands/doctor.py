"""`gemma doctor`: what this machine has, what it can run, and whether it does."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import typer

from gemma_cli import __version__
from gemma_cli.common.options import Json, examples
from gemma_cli.common.replies import listen
from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.core.messages import GREEDY, Drafting, Request, ask
from gemma_cli.engines import open_engine
from gemma_cli.store import config, machine, paths
from gemma_cli.store.checkpoints import locate
from gemma_cli.store.releases import DRAFTER, POCKET, gigabytes
from gemma_cli.views.sanitize import safe_line

DISTRIBUTION = "gemma-cli"

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Check:
    """ok: None for what is neither right nor wrong. remedy: what to do where ok is False."""

    name: str
    found: str
    ok: bool | None = None
    remedy: str | None = None


@app.command(epilog=examples("gemma doctor", "gemma doctor --json | jq '.checks[] | select(.ok == false)'"))
def doctor(as_json: Json = False) -> None:
    """Check what this machine has and can run; exits with 1 when something is wrong."""
    checks = _checks()
    found = list(checks if as_json else _printed(checks))
    wrong = [check for check in found if check.ok is False]
    if as_json:
        from gemma_cli.views import json

        json.write({"ok": not wrong, "checks": [asdict(check) for check in found]}, sys.stdout)
    if wrong:
        raise GemmaError(f"{len(wrong)} of {len(found)} checks failed: {', '.join(check.name for check in wrong)}")


def _printed(checks: Iterable[Check]) -> Iterator[Check]:
    """The same, each told as soon as it is known: some take seconds."""
    for check in checks:
        mark = {True: "ok", False: "!!", None: "  "}[check.ok]
        remedy = f" - {check.remedy}" if check.remedy else ""
        print(safe_line(f"{mark} {check.name:15} {check.found}{remedy}"), flush=True)
        yield check


def _checks() -> Iterator[Check]:
    yield Check("gemma", __version__)
    yield Check("python", f"{platform.python_version()} on {platform.platform()}")
    yield from _dependencies()
    yield from _folders()
    yield Check("memory", f"{gigabytes(machine.memory())}, {gigabytes(machine.available())} free")
    yield from _device()
    yield from _pocket()


def _dependencies() -> Iterator[Check]:
    """Each package gemma asks for, held against the range in which it is known to work."""
    from packaging.requirements import Requirement

    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        remedy = f"pip install '{wanted.name}{wanted.specifier}'"
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(wanted.name, "missing", False, remedy)
            continue
        fits = wanted.specifier.contains(version, prereleases=True)
        yield Check(wanted.name, version, fits, None if fits else remedy)


def _folders() -> Iterator[Check]:
    try:
        config.load_config()
        yield Check("config", _where(paths.config_file()), True)
    except UsageError as error:
        yield Check("config", str(error), False, "mend or remove it")
    for name, folder in (("hub cache", paths.hub_cache()), ("cache", paths.cache_dir()), ("state", paths.state_dir())):
        usable = os.access(_nearest(folder), os.W_OK)
        yield Check(name, _where(folder), usable, None if usable else "make it writable")


def _where(path: Path) -> str:
    return str(path) if path.exists() else f"{path} (not there yet)"


def _nearest(folder: Path) -> Path:
    """The folder, or the first above it that exists and where it would be made."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _device() -> Iterator[Check]:
    from gemma_cli.engines.local import native
    from gemma_cli.engines.local.device import bfloat16_on_cpu, choose_device, describe
    from gemma_cli.engines.local.loading.memory_fit import fitting, places
    from gemma_cli.engines.local.native.build import library

    device = choose_device("auto")
    there = places(device)
    spread = ": a model that one does not hold is spread over them" if len(there) > 1 else ""
    yield Check("device", f"{device}{spread}", True)
    for each, free in there.items() if device.type != "cpu" else ():
        yield Check(str(each), f"{describe(each)}, {gigabytes(free)} free")
    if device.type == "cpu":
        verdict = bfloat16_on_cpu()
        yield Check("bfloat16", f"{verdict} on this CPU", verdict != "crashes" or None)
        ours = native.on(device) is not None
        why = library().why or "the library that was built cannot be loaded"
        found = "ours, built for this processor" if ours else f"torch's, which decode slower: {why}"
        yield Check("kernels", found, ours or None)
    yield Check("quantize", _quantizations(device.type))
    yield Check("models that fit", ", ".join(["pocket", *fitting(device)]))


def _quantizations(device_type: str) -> str:
    """Which of --quantize's values run, and how."""
    from gemma_cli.engines.local import native
    from gemma_cli.engines.local.device import choose_device
    from gemma_cli.engines.local.model.quantized import OUT_MULTIPLE, int4_runs, integer_products

    if device_type not in OUT_MULTIPLE:
        return f"not on {device_type}"
    device = choose_device(device_type)
    integers = native.on(device) or (device_type == "cpu" and integer_products())
    return f"int8{' in integers' if integers else ''}" + (", int4" if int4_runs(device_type) else "; int4 does not run")


def _pocket() -> Iterator[Check]:
    """The bundled checkpoint is whole, and says the same with its drafter and without."""
    again = "install gemma-cli again"
    try:
        folder = locate(POCKET)[1].parent
        damaged = [name for digest, name in _sums(folder) if _sha256(folder / name) != digest]
        found = f"{len(damaged)} files damaged: {', '.join(damaged)}" if damaged else "all files as they were made"
        yield Check("pocket files", found, not damaged, again if damaged else None)
        engine = open_engine(EngineSpec(model=POCKET, assistant=POCKET + DRAFTER))
    except (GemmaError, OSError) as error:
        yield Check("pocket", str(error), False, again)
        return
    plain, drafted = (
        listen(engine, Request(ask("Count from 1 to 20."), replace(GREEDY, max_tokens=64), Drafting(draft_tokens)))
        for draft_tokens in (0, Drafting().draft_tokens)
    )
    same = plain.text == drafted.text
    found = f"loads in {engine.info.load_s or 0.0:.1f} s, {engine.info.dtype} on {engine.info.device}"
    yield Check("pocket", found, True)
    found = "the same text with the drafter and without" if same else f"{plain.text!r} became {drafted.text!r}"
    yield Check("same text", found, same, None if same else "please report this")


def _sums(folder: Path) -> Iterator[tuple[str, str]]:
    """(sha-256, file name) as sha256sum(1) writes them."""
    for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split(maxsplit=1)
        yield digest, name


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
