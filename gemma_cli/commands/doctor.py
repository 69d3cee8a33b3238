"""`gemma doctor`: what this machine has, what it can run, and whether it does."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, cast

import typer

import gemma_cli
from gemma_cli import __version__
from gemma_cli.commands.doctor_parts import packages
from gemma_cli.commands.doctor_parts.check import Check
from gemma_cli.commands.doctor_parts.device import device_checks
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
from gemma_cli.store.models.releases import DRAFTER, POCKET, gigabytes
from gemma_cli.views.sanitize import safe_line

app = typer.Typer(add_completion=False)


@app.command(epilog=examples("gemma doctor", "gemma doctor --json | jq '.checks[] | select(.ok == false)'"))
def doctor(
    as_json: Json = False,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Check and measure gemma on a GPU, which takes about 20 minutes.")
    ] = False,
) -> None:
    """Check the installation and this machine. The exit code is 1 if a check fails."""
    if gpu:
        raise typer.Exit(_on_gpu())
    checks = _checks()
    found = list(checks if as_json else _printed(checks))
    wrong = [check for check in found if check.ok is False]
    if as_json:
        from gemma_cli.views import json

        json.write({"ok": not wrong, "checks": [asdict(check) for check in found]}, sys.stdout)
    if wrong:
        raise GemmaError(f"{len(wrong)} of {len(found)} checks failed: {', '.join(check.name for check in wrong)}")


def _on_gpu() -> int:
    """Run `python -m tests.gpu` in the checkout; its exit code. UsageError: no checkout, or no GPU."""
    from gemma_cli.engines.local.device import choose_device

    checkout = Path(gemma_cli.__file__).parents[1]
    if not (checkout / "tests" / "gpu").is_dir():
        raise UsageError("gemma doctor --gpu needs a checkout of gemma, where its tests are: install it from there")
    choose_device("cuda")
    return subprocess.run([sys.executable, "-m", "tests.gpu"], cwd=checkout, check=False).returncode


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
    yield from packages.dependencies()
    yield from packages.extras()
    yield from _folders()
    yield Check("memory", f"{gigabytes(machine.memory())}, {gigabytes(machine.available())} free")
    yield from device_checks()
    yield _model()
    yield from _pocket()


def _folders() -> Iterator[Check]:
    broken = _broken_config()
    found = broken or _where(paths.config_file())
    yield Check("config", found, not broken, "correct or remove the file" if broken else None)
    for name, folder in (("hub cache", paths.hub_cache()), ("cache", paths.cache_dir()), ("state", paths.state_dir())):
        why = _unwritable(folder)
        found = f"{_where(folder)}: {why}" if why else _where(folder)
        yield Check(name, found, not why, "make the folder writable" if why else None)


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


def _model() -> Check:
    """Check the default model: from the environment and the configuration, as a command reads them."""
    from gemma_cli.commands import chat

    if _broken_config():
        return Check("model", "not checked, because the configuration cannot be read")
    source = chosen_by()
    try:
        context = cast("typer.Context", typer.main.get_command(chat.app).make_context("chat", ["?"]))
        given = context.params | configured(context, settings_of(inspect.signature(chat.chat).parameters.values()))
        options = EngineOptions(**{field.name: given[field.name] for field in fields(EngineOptions)})
        return Check("model", foretell(options.spec()) + (f" (set by {source})" if source else ""), True)
    except typer.TyperException as error:
        return Check("model", " ".join(error.format_message().split()), False, "correct or unset the setting")
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
            yield Check("pocket", "not checked, because the configuration cannot be read")
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
    found = f"pocket loads in {engine.info.load_s or 0.0:.1f} s, in {engine.info.dtype} on {engine.info.device}"
    yield Check("pocket", found, True)
    found = (
        "pocket writes the same text with and without the drafter"
        if same
        else f"{plain.text!r} became {drafted.text!r}"
    )
    yield Check("same text", found, same, None if same else "please report this")


def _sums(folder: Path) -> Iterator[tuple[str, str]]:
    """(sha-256, file name) as sha256sum(1) writes them."""
    for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, name = line.split(maxsplit=1)
        yield digest, name


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
