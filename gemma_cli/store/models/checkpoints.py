"""Resolution of model names to checkpoints on disk. Never touches the network; never imports torch."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.core.records import dataclass
from gemma_cli.store.config import load_config
from gemma_cli.store.models import hub, machine
from gemma_cli.store.models.releases import (
    DRAFTER,
    POCKET,
    RELEASES,
    download_size,
    drafter_names,
    full_name,
    gigabytes,
    short_name,
)
from gemma_cli.store.models.shards import weight_files
from gemma_cli.store.paths import config_file

OFF = "off"
BUNDLED = Path(__file__).parents[2] / "pocket"
SYNTHETIC = "synthetic:"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True)
class Resolved:
    """The checkpoint to run. folder: None for `synthetic:` names. notice: one line for stderr."""

    name: str
    folder: Path | None
    assistant_name: str | None = None
    assistant_folder: Path | None = None
    notice: str | None = None


class NotOnDisk(UsageError):
    """The checkpoint is not on this machine. name: its hub id; size: bytes, None if unknown."""

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name
        self.size = download_size(name)


def resolve(model: str | None = None, assistant: str | None = None) -> Resolved:
    """The checkpoint and drafter to run.

    model: given > GEMMA_MODEL > config file > the ablest release in the Hugging Face cache that fits in memory >
    pocket. assistant: given ("off" for none) > config file, for the model set there > the model's own, if on disk.
    Raises NotOnDisk, and UsageError for a name that means nothing.
    """
    config = load_config()
    asked = named(model)
    if not assistant and (config.text("assistant") == OFF or asked == config.text("model")):
        assistant = config.text("assistant")
    name, notice = (asked, None) if asked else _choose()
    if name.startswith(SYNTHETIC):
        return Resolved(name, None, assistant if assistant != OFF else None)
    name, folder = locate(name)
    if assistant == OFF:
        return Resolved(name, folder, None, None, notice)
    if assistant:
        return Resolved(name, folder, *locate(assistant), notice)
    (drafter, drafter_folder), absence = _drafter_of(name, folder)
    notices = "; ".join(line for line in (notice, absence) if line)
    return Resolved(name, folder, drafter, drafter_folder, notices or None)


def named(model: str | None = None) -> str | None:
    """Return the requested model: given > GEMMA_MODEL > config file; None without any. Raises UsageError."""
    return model or os.environ.get("GEMMA_MODEL") or load_config().text("model")


def chosen_by() -> str | None:
    """Return the source of the model's name without --model: GEMMA_MODEL or the configuration file, or None."""
    if os.environ.get("GEMMA_MODEL"):
        return "GEMMA_MODEL"
    return str(config_file()) if load_config().text("model") else None


def locate(name: str) -> tuple[str, Path]:
    """(full name, folder) of an alias, a hub id or a local folder. Raises NotOnDisk or UsageError."""
    name = full_name(name.strip())
    if name in (POCKET, POCKET + DRAFTER):
        return name, _bundled(name)
    folder = _folder(name)
    if folder and download_size(name) is None:
        if not hub.is_checkpoint(folder):
            weight_files(folder)  # raises the error in its index
            raise UsageError(f"{name}: not a checkpoint; give a folder with config.json and *.safetensors")
        return name, folder
    if not HUB_ID.fullmatch(name):
        raise _unknown(name)
    cached = hub.find(name)
    if cached is None:
        raise NotOnDisk(f"{name} is not on this machine; {_how_to_get(name)}", name)
    if not cached.complete:
        raise NotOnDisk(f"{name} is only partly downloaded; {_how_to_get(name)}", name)
    return name, cached.folder


def _folder(name: str) -> Path | None:
    """The local folder of that name, if there is one; no text is too strange to ask for."""
    try:
        folder = Path(name).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long; ~nobody; NUL
        return None


def _choose() -> tuple[str, str]:
    """Return (name, notice) of the default model."""
    for release in reversed(RELEASES):
        if hub.is_here(release) and release.memory <= machine.memory():
            return (
                release.name,
                f"using {release.name}, the largest downloaded model "
                "that fits in memory (to use another model, give --model)",
            )
    pull = f"gemma models pull {RELEASES[0].alias} ({gigabytes(RELEASES[0].download)})"
    return POCKET, f"using pocket, a tiny model for demonstrations; to download the smallest real Gemma 4: {pull}"


def _drafter_of(name: str, folder: Path) -> tuple[tuple[str, Path] | tuple[None, None], str | None]:
    """Return ((name, folder), None) of a model's own drafter, or ((None, None), the reason why there is none)."""
    own = str(folder.resolve()) if folder == _folder(name) else name
    how = ""
    for drafter in drafter_names(own):
        try:
            return locate(drafter), None
        except NotOnDisk as error:
            how = f" on this machine, so gemma decodes without drafts; {_how_to_get(drafter)}" if error.size else how
        except GemmaError:
            continue
    how = how or f" ({drafter_names(own)[0]} does not exist), so gemma decodes without drafts"
    return (None, None), f"{name} has no drafter{how}"


def _bundled(name: str) -> Path:
    folder = BUNDLED / name
    if not hub.is_checkpoint(folder):
        raise GemmaError(f"{name} is missing in this installation: install gemma-cli again, or choose another --model")
    return folder


def _unknown(name: str) -> UsageError:
    if os.path.isfile(name):  # noqa: PTH113 - Path.is_file raises for a name that is too long
        return UsageError(f"{name}: a file, not a checkpoint; give a folder with config.json and *.safetensors")
    if name.startswith((".", "~", os.sep)):
        return UsageError(f"{name}: the folder does not exist; give a folder with config.json and *.safetensors")
    names = [POCKET, *(release.alias for release in RELEASES)]
    key = name.casefold()
    near = [alias for alias in names if alias in key] or difflib.get_close_matches(key, names, n=2, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"give a folder, a Hugging Face id, or one of {', '.join(names)}"
    )
    return UsageError(f"unknown model {name!r}: {hint}")


def _how_to_get(name: str) -> str:
    size = download_size(name)
    return f"gemma models pull {short_name(name)} fetches it" + (f" ({gigabytes(size)})" if size else "")
