"""`gemma doctor`: what this machine has, what it can run, and whether it does."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from gemma_cli import __version__
from gemma_cli.common.command_line.configured import configured
from gemma_cli.common.options import EngineOptions, Json, examples, settings_of
from gemma_cli.common.replies import listen
from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.errors import GemmaError, OutOfMemory, UsageError
from gemma_cli.core.messages import GREEDY, Drafting, Request, ask
from gemma_cli.engines import foretell, open_engine
from gemma_cli.store import config, paths
from gemma_cli.store.models import machine
from gemma_cli.store.models.checkpoints import chosen_by, locate
from gemma_cli.store.models.hub import is_here
from gemma_cli.store.models.releases import DRAFTER, POCKET, RELEASES, gigabytes
from gemma_cli.views.sanitize import safe_line

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

DISTRIBUTION = "gemma-cli"

EXTRAS = {
    "video": "videos, and sound in M4A and WebM",
    "mcp": "tools of MCP servers in gemma chat",
    "pdf": "PDF documents in gemma chat",
    "schema": "answers that match a JSON schema",
    "plot": "gemma bench --plot and --report",
    "quality": "gemma bench --task",
    "mic": "gemma transcribe --mic",
}
"""Purpose of each extra, except the one for developers."""

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
    """Check this installation and what the machine can run; exits with 1 when something is wrong."""
    checks = _checks()
    found = list(checks if as_json else _printed(checks))
    wrong = [check for check in found if check.ok is False]
    if as_json:
        from gemma_cli.views import json

        json.write({"ok": not wrong, "checks": [asdict(check) for check in found]}, sys.stdout)
    if wrong:
        raise GemmaError(f"{len(wrong)} of {len(found)} checks failed: {', '.join(check.name for check in wrong)}")


def _printed(checks: Iterable[Check]) -> Iterator[Check]:
    """Yield the same checks, and print each as soon as it is known: some take seconds."""
    for check in checks:
        mark = {True: "ok", False: "!!", None: "  "}[check.ok]
        remedy = f" - {check.remedy}" if check.remedy else ""
        print(safe_line(f"{mark} {check.name:15} {check.found}{remedy}"), flush=True)
        yield check


def _checks() -> Iterator[Check]:
    yield Check("gemma", __version__)
    yield Check("python", f"{platform.python_version()} on {platform.platform()}")
    yield from _dependencies()
    yield from _extras()
    yield from _folders()
    yield Check("memory", f"{gigabytes(machine.memory())}, {gigabytes(machine.available())} free")
    yield from _device()
    yield _model()
    yield from _pocket()


def _dependencies() -> Iterator[Check]:
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


def _extras() -> Iterator[Check]:
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
            missing = f"not installed, for {EXTRAS[extra]}: pip install '{DISTRIBUTION}[{extra}]'"
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


def _folders() -> Iterator[Check]:
    broken = _broken_config()
    found = broken or _where(paths.config_file())
    yield Check("config", found, not broken, "correct or remove it" if broken else None)
    for name, folder in (("hub cache", paths.hub_cache()), ("cache", paths.cache_dir()), ("state", paths.state_dir())):
        why = _unwritable(folder)
        found = f"{_where(folder)}: {why}" if why else _where(folder)
        yield Check(name, found, not why, "make it a writable folder" if why else None)


def _broken_config() -> str:
    """Return the error of the configuration file; "" for none."""
    try:
        config.load_config()
    except UsageError as error:
        return str(error)
    return ""


def _where(path: Path) -> str:
    return str(path) if os.path.lexists(path) else f"{path} (not there yet)"


def _unwritable(folder: Path) -> str:
    """Why nothing can be written into a folder, found by doing so; "" where something can.

    What is not there yet would be made in the first folder above it.
    """
    nearest = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    try:
        with tempfile.TemporaryFile(dir=nearest) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _device() -> Iterator[Check]:
    from gemma_cli.engines.local import native
    from gemma_cli.engines.local.device import bfloat16_on_cpu, choose_device, describe
    from gemma_cli.engines.local.loading.memory.fit import fitting, places
    from gemma_cli.engines.local.native.build import library
    from gemma_cli.engines.local.threads import set_threads

    device = choose_device("auto")
    there = places(device)
    spread = ": a model too large for one is split across them" if len(there) > 1 else ""
    yield Check("device", f"{device}{spread}", True)
    for each, free in there.items() if device.type != "cpu" else ():
        yield Check(str(each), f"{describe(each)}, {gigabytes(free)} free")
    yield from _torch_build(device.type)
    if device.type == "cpu":
        threads = set_threads()
        yield Check("threads", f"{threads.count}: {threads.reason}", True)
        verdict = bfloat16_on_cpu()
        yield Check("bfloat16", f"{verdict} on this CPU", verdict != "crashes" or None)
        ours, told = native.on(device) is not None, native.notice(device)
        why = library().why or "the compiled library cannot be loaded"
        found = "gemma's own, compiled for this processor" if ours else f"torch's, which decode slower: {why}"
        yield Check("kernels", f"{found}; {told}" if ours and told else found, ours or None)
    yield Check("quantize", _quantizations(device.type))
    here = {release.alias for release in RELEASES if is_here(release)}
    fit = {way: way.partition(" ")[0] for way in fitting(device)}
    yield Check("models that fit", ", ".join([POCKET, *(way for way, alias in fit.items() if alias in here)]))
    absent = (f"{way} ({gigabytes(_download(alias))} to fetch)" for way, alias in fit.items() if alias not in here)
    yield Check("would fit", ", ".join(absent) or "no other")


def _torch_build(device_type: str) -> Iterator[Check]:
    """Notice a build of torch for NVIDIA GPUs where there is none: most of what is installed then is never used."""
    from gemma_cli.engines.local.device import cuda_build

    if (version := cuda_build()) and device_type != "cuda":
        found = f"for CUDA {version}, and no GPU of NVIDIA can be used here"
        yield Check(
            "torch build", found, None, "save more than 4 GB: uv pip install --torch-backend=cpu --reinstall torch"
        )


def _quantizations(device_type: str) -> str:
    """Which of --quantize's values run, and how."""
    from gemma_cli.engines.local import native
    from gemma_cli.engines.local.device import choose_device
    from gemma_cli.engines.local.model.layers.quantized import OUT_MULTIPLE, int4_runs, integer_products

    if device_type not in OUT_MULTIPLE:
        return f"not on {device_type}"
    device = choose_device(device_type)
    integers = native.on(device) or (device_type == "cpu" and integer_products())
    return f"int8{' (integer kernels)' if integers else ''}" + (
        ", int4" if int4_runs(device_type) else "; int4 does not run"
    )


def _download(alias: str) -> int:
    return next(release.download for release in RELEASES if release.alias == alias)


def _model() -> Check:
    """Check the default model: from the environment and the configuration, as a command reads them."""
    from gemma_cli.commands import chat

    if _broken_config():
        return Check("model", "unknown until the configuration can be read")
    source = chosen_by()
    try:
        context = cast("typer.Context", typer.main.get_command(chat.app).make_context("chat", ["?"]))
        given = context.params | configured(context, settings_of(inspect.signature(chat.chat).parameters.values()))
        options = EngineOptions(**{field.name: given[field.name] for field in fields(EngineOptions)})
        return Check("model", foretell(options.spec()) + (f" (set by {source})" if source else ""), True)
    except typer.TyperException as error:
        return Check("model", " ".join(error.format_message().split()), False, "correct or unset it")
    except GemmaError as error:
        return Check("model", str(error), False, f"or change {source}" if source else None)  # the error has its own


def _pocket() -> Iterator[Check]:
    """The bundled checkpoint is complete, and replies the same with its drafter and without."""
    again = "install gemma-cli again"
    try:
        folder = locate(POCKET)[1].parent
        damaged = [name for digest, name in _sums(folder) if _sha256(folder / name) != digest]
        found = f"{len(damaged)} files damaged: {', '.join(damaged)}" if damaged else "all files match their checksums"
        yield Check("pocket files", found, not damaged, again if damaged else None)
        if _broken_config():
            yield Check("pocket", "not run until the configuration can be read")
            return
        engine = open_engine(EngineSpec(model=POCKET, assistant=POCKET + DRAFTER))
    except OutOfMemory as error:
        yield Check("pocket", str(error), False, "make memory free")
        return
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
    found = "the same text with and without the drafter" if same else f"{plain.text!r} became {drafted.text!r}"
    yield Check("same text", found, same, None if same else "please report this")


def _sums(folder: Path) -> Iterator[tuple[str, str]]:
    """(sha-256, file name) as sha256sum(1) writes them."""
    for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split(maxsplit=1)
        yield digest, name


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
