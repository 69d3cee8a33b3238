import json

import pytest

from gemma_cli.store import session_schema
from gemma_cli.store.models import checkpoints, machine


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A machine with nothing on it: no cache, no configuration, 24 GB of memory."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "GEMMA_MODEL"):
        monkeypatch.delenv(name, raising=False)
    for kind in ("config", "cache", "state"):
        monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", str(tmp_path / kind))
    monkeypatch.setattr(machine, "memory", lambda: 24 * 10**9)
    monkeypatch.setattr(session_schema, "PATIENCE", 300.0)  # a busy machine may keep a lock for long
    return tmp_path


def write_checkpoint(folder, model_type="gemma4", shards=1):
    """The files of a checkpoint, with nothing in them."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    if shards == 1:
        (folder / "model.safetensors").write_bytes(b"12345678")
    else:
        names = [f"model-{i:05}-of-{shards:05}.safetensors" for i in range(1, shards + 1)]
        for name in names:
            (folder / name).write_bytes(b"12345678")
        index = {"weight_map": {f"layer.{i}": name for i, name in enumerate(names)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def cached(home):
    """Puts a checkpoint into the Hugging Face cache, as huggingface_hub lays it out."""

    def add(name, model_type="gemma4", shards=1, commit="c0ffee"):
        repository = home / "cache" / "huggingface" / "hub" / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / "main").write_text(commit)
        return write_checkpoint(repository / "snapshots" / commit, model_type, shards)

    return add


@pytest.fixture
def checkpoint(tmp_path):
    def add(name, **options):
        return write_checkpoint(tmp_path / name, **options)

    return add


@pytest.fixture
def pocket(checkpoint, monkeypatch):
    """A package that holds pocket, whatever this checkout holds: its folder and its drafter's."""
    target, drafter = checkpoint("package/pocket/pocket"), checkpoint("package/pocket/pocket-assistant")
    monkeypatch.setattr(checkpoints, "BUNDLED", target.parent)
    return target, drafter
