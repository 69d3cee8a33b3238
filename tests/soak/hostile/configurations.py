"""Mutated configurations: each is refused in one line, or it loads and answers."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.soak.outcome import Outcome

PROMISE = "any value of any field of a checkpoint's JSON files is used or refused in one line"

TRIED = 2000
SHAPES_SHARE = 0.8
"""Of the mutations: those of published shapes, whose weights are not here. The others are loaded, with pocket's."""

CHUNK = 200
"""Mutations one process tries."""

PATIENCE = 120.0
"""Seconds for one mutation on a busy machine; loading pocket takes two."""

MEMORY = 300 << 20
"""Bytes that a process may take beyond what it has after one unchanged configuration."""

POCKET = Path(__file__).parents[3] / "gemma_cli" / "pocket" / "pocket"
ASSISTANT = POCKET.with_name("pocket-assistant")

FILES = ("config.json", "generation_config.json", "processor_config.json", "tokenizer_config.json", "tokenizer.json")

ODD: list[Any] = [
    *(0, 1, -1, 2, 3, 7, 64, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 10**9, 10**18, 10**40, -(10**30)),
    *(0.0, 0.5, -0.5, 1e-30, 1e30, float("nan"), float("inf"), float("-inf"), True, False, None),
    *("", "a", "auto", "../x", "x" * 5000, "\ud800", "a\nb", "gelu", "full_attention", "nan"),
    *([], [[]], [0], [1, "a"], [None] * 9, [1] * 5000, {}, {"a": 1}, {"0": {}}, {"": {"": []}}),
]

NAMES: list[list[Any]] = [
    *(["../x"], ["/etc/passwd"], ["model.safetensors"], [5], ["a\0b"], [], [None] * 3, ["x" * 9999], ["a", ".."]),
]
"""Of files, in an index."""

RAW = [
    b"",
    b"[]",
    b"5",
    b"{",
    b"\xff\xfe\x00",
    b"\x00" * 100,
    b'{"a":' * 200_000,
    b"[" * 200_000,
    b'{"model_type": "gemma4", "model_type": "gemma4"}',
    b'{"a": ' + b"9" * 100_000 + b"}",
    b'{"a": [' + b"[]," * 1_000_000 + b"[]]}",
    b'{"a": "' + b"x" * (5 << 20) + b'"}',
]


def trial(scale: float) -> Outcome:
    """Try mutations of the five published shapes, their drafters and pocket, in processes of their own."""
    total = max(2, round(TRIED * scale))
    shapes = round(total * SHAPES_SHARE)
    failures: list[str] = []
    refused = peak = 0
    chunks = [*_chunks("shapes", shapes), *_chunks("pocket", total - shapes)]
    while chunks:
        kind, first, count = chunks.pop()
        outcome = run(kind, first, count)
        failures += outcome["failures"]
        refused += outcome["refused"]
        if outcome["large"]:
            # A process that has loaded many models keeps free memory in pieces: the last mutation is measured alone.
            after = outcome["next"]
            chunks += [(kind, after, first + count - after)] if after < first + count else []
            outcome = run(kind, after - 1, 1)
        peak = max(peak, outcome["peak"])
        if outcome["peak"] > MEMORY:
            failures.append(f"{kind} {first}: took {outcome['peak'] >> 20} MB")
    return Outcome(total, failures, f"{refused} refused, at most {peak >> 20} MB above an unchanged configuration")


def _chunks(kind: str, count: int) -> Iterator[tuple[str, int, int]]:
    return ((kind, first, min(CHUNK, count - first)) for first in range(0, count, CHUNK))


def run(kind: str, first: int, count: int) -> dict[str, Any]:
    """Try mutations first .. first + count - 1 in another process. A hang ends it, and counts."""
    command = [sys.executable, "-m", "tests.soak.hostile.configurations", kind, str(first), str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    outcome: dict[str, Any] = {"failures": [], "refused": 0, "peak": 0, "large": [], "next": first + count}
    current, finished = "start", False
    timer = threading.Timer(PATIENCE, process.kill)
    timer.start()
    for line in process.stdout:
        timer.cancel()
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        word, _, rest = line.rstrip("\n").partition(" ")
        if word == "trying":
            current = rest
        elif word == "outcome":
            outcome, finished = json.loads(rest), True
    timer.cancel()
    if process.wait() or not finished:
        outcome["failures"].append(f"hang or crash (exit code {process.returncode}) at {current}")
    return outcome


def mutated(rng: random.Random, values: Any) -> tuple[Any, str]:
    """A copy of a JSON value with one to three places changed, and what was changed."""
    values = json.loads(json.dumps(values))
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        holder, key, path = _place(rng, values)
        change = rng.random()
        if change < 0.1 and isinstance(holder, dict):
            del holder[key]
            done.append(f"-{path}")
        elif change < 0.2 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
            holder[key] = rng.choice(
                (holder[key] + 1, holder[key] - 1, holder[key] * 2, holder[key] // 2, -holder[key])
            )
            done.append(f"{path}={holder[key]}")
        elif change < 0.25 and isinstance(holder[key], list):
            holder[key] = holder[key][:-1] if rng.random() < 0.5 else holder[key] * 2
            done.append(f"{path} of {len(holder[key])}")
        else:
            holder[key] = rng.choice(ODD)
            done.append(f"{path}={str(holder[key])[:30]!r}")
    return values, ", ".join(done)


def _place(rng: random.Random, values: Any) -> tuple[Any, Any, str]:
    """A random place in nested containers: the container, the key and its path; all containers count alike."""
    holder, key, path = values, "", ""
    while True:
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
        path += f".{str(key)[:20]}"
        inner = holder[key]
        if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.3:
            return holder, key, path
        holder = inner


class Shapes:
    """The published shapes: their configs as transformers writes them, read, and estimated, without weights."""

    def __init__(self, _: Path) -> None:
        from gemma_cli.engines.local.loading.synthetic import NAMES, drafter_config, target_config

        self.configs = [(name, _published(target_config(name))) for name in NAMES]
        self.configs += [(f"{name}-assistant", drafter_config(name)) for name in NAMES]
        self.configs += [(file.name, json.loads((file / "config.json").read_text())) for file in (POCKET, ASSISTANT)]

    def mutation(self, index: int, folder: Path) -> str:
        rng = random.Random(f"shapes {index}")
        name, values = self.configs[index % len(self.configs)]
        values, done = mutated(rng, values)
        (folder / "config.json").write_text(json.dumps(values))
        return f"{name}: {done}"

    def unchanged(self, folder: Path) -> None:
        for _, values in self.configs:
            (folder / "config.json").write_text(json.dumps(values))
            self.use(folder)

    def use(self, folder: Path) -> None:
        """What loading does before it reads weights."""
        import torch

        from gemma_cli.engines.local.loading.config import read_config
        from gemma_cli.engines.local.loading.memory.estimate import Plan, needs

        config = read_config(folder)
        device = torch.device("cpu")
        if not config.is_target:
            config.drafter()
            return
        for quantize in (None, "int4"):
            needs(Plan(config.decoder(), None, device, torch.float32, quantize))


def _published(text: dict[str, Any]) -> dict[str, Any]:
    from transformers import CONFIG_MAPPING

    kind = text["model_type"].removesuffix("_text")
    towers = {
        name: CONFIG_MAPPING[f"{kind}_{name.removesuffix('_config')}"]() for name in ("vision_config", "audio_config")
    }
    config = CONFIG_MAPPING[kind](text_config=dict(text), **towers)
    published: dict[str, Any] = json.loads(json.dumps(config.to_dict(), default=str))
    return published


class Pocket:
    """Pocket and its drafter as folders: loaded, and asked with a picture and a sound."""

    def __init__(self, root: Path) -> None:
        self.target, self.drafter = root / "mine", root / "mine-assistant"
        shutil.copytree(POCKET, self.target)
        shutil.copytree(ASSISTANT, self.drafter)
        self.originals = {path: path.read_bytes() for path in self._files()}

    def _files(self) -> Iterator[Path]:
        yield from (self.target / name for name in FILES)
        yield self.drafter / "config.json"

    def mutation(self, index: int, folder: Path) -> str:
        rng = random.Random(f"pocket {index}")
        self.unchanged(folder)
        paths = [*self.originals, self.target / "model.safetensors.index.json"]
        path = paths[index % len(paths)]
        if path not in self.originals:
            names = rng.choice(NAMES)
            path.write_text(json.dumps({"weight_map": {f"t{i}": name for i, name in enumerate(names)}}))
            return f"index of {names}"[:80]
        if rng.random() < 0.2:
            if rng.random() < 0.1:
                path.unlink()
                os.mkfifo(path)
                return f"{path.name} a pipe"
            raw = rng.randrange(len(RAW))
            path.write_bytes(RAW[raw])
            return f"{path.name} raw {raw}"
        values, done = mutated(rng, json.loads(self.originals[path]))
        path.write_text(json.dumps(values))
        return f"{path.parent.name}/{path.name}: {done}"

    def unchanged(self, _: Path) -> None:
        """Put everything back."""
        (self.target / "model.safetensors.index.json").unlink(missing_ok=True)
        for path, content in self.originals.items():
            if not path.is_file() or path.read_bytes() != content:
                path.unlink(missing_ok=True)
                path.write_bytes(content)

    def use(self, _: Path) -> None:
        import numpy as np

        from gemma_cli.core.engine import EngineSpec
        from gemma_cli.core.events import collect
        from gemma_cli.core.messages import Audio, Image, Message, Request, Sampling, Text
        from gemma_cli.engines import open_engine

        engine = open_engine(EngineSpec(model=str(self.target), device="cpu"))
        rng = np.random.default_rng(0)
        picture = Image("p", "p.png", rng.integers(0, 255, (64, 96, 3), dtype=np.uint8))
        sound = Audio("s", "s.wav", (rng.standard_normal(16_000) * 0.1).astype(np.float32))
        for parts in ((Text("Hello"),), (picture, Text("What?")), (Text("What?"), sound)):
            collect(engine.stream(Request((Message("user", parts),), Sampling(seed=1, max_tokens=6))))


def work(kind: str, first: int, count: int) -> None:
    """Try mutations and print what came of them; what this process does when it is started by `run`."""
    import torch

    from gemma_cli.core.errors import GemmaError

    torch.set_num_threads(1)
    failures: list[str] = []
    large: list[int] = []
    refused = 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        subject = Shapes(root) if kind == "shapes" else Pocket(root)
        subject.unchanged(root)
        subject.use(root)
        before = _peak()
        for index in range(first, first + count):
            what = subject.mutation(index, root)
            print(f"trying {kind} {index}: {what}".encode("ascii", "backslashreplace").decode(), flush=True)
            began = time.monotonic()
            try:
                subject.use(root)
            except GemmaError as error:
                refused += 1
                if "\n" in str(error) or len(str(error)) > 600:
                    failures.append(f"{kind} {index}: {what}: not one short line: {str(error)[:300]}")
            except BaseException as error:
                failures.append(f"{kind} {index}: {what}: {type(error).__name__}: {str(error)[:200]}")
            if time.monotonic() - began > PATIENCE:
                failures.append(f"{kind} {index}: {what}: took {time.monotonic() - began:.0f} s")
            if _peak() - before > MEMORY and count > 1:
                large.append(index)
                break
        peak = _peak() - before
    outcome = {"failures": failures, "refused": refused, "peak": peak, "large": large, "next": index + 1}
    print("outcome", json.dumps(outcome), flush=True)


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
