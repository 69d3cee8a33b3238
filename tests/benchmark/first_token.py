"""Seconds from the start of a process to its first token, and the most memory it takes.

    python -m tests.benchmark.first_token FOLDER [--formats bfloat16,int8,int4] [--runs 5] [--threads 2] [--cold]
        [--before PROJECT] [--tokenizer FOLDER]

FOLDER: a checkpoint; where there is none, one of E2B's shape is written there, 9.3 GB of random weights. A case is
`gemma chat` with one token of reply, its files in the page cache, or with --cold dropped from it before. --before:
another state of the project, whose processes alternate with this one's. Memory is the peak of the resident set, which
counts pages of mapped files too. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from gemma_cli.engines.local.loading.synthetic import target_config

ROOT = Path(__file__).parents[2]
POCKET = ROOT / "gemma_cli" / "pocket" / "pocket"
BLOCK = 1_000_003
"""Random numbers that are repeated: a prime number, so that no two rows of a weight are alike."""

QUANTIZED = ("int8", "int4")


def main() -> None:
    """Measure every case and print a line for each."""
    options = argparse.ArgumentParser(prog="python -m tests.benchmark.first_token", description=__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--formats", default="bfloat16,int8,int4", help="default: %(default)s")
    options.add_argument("--runs", type=int, default=5, help="default: %(default)s")
    options.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    options.add_argument("--cold", action="store_true")
    options.add_argument("--before", type=Path)
    options.add_argument("--tokenizer", type=Path, default=POCKET)
    asked = options.parse_args()
    if not (asked.folder / "config.json").exists():
        write_checkpoint(asked.folder, asked.tokenizer)
    projects = {"before": asked.before, "now": ROOT} if asked.before else {"now": ROOT}
    print("| format | project | seconds to the first token | CPU time | peak, MB |\n| --- | --- | --- | --- | --- |")
    for form in asked.formats.split(","):
        taken: dict[str, list[tuple[float, float, int]]] = {name: [] for name in projects}
        for _ in range(asked.runs):
            for name, project in projects.items():
                if asked.cold:
                    forget(asked.folder)
                taken[name].append(first_token(project, asked.folder, form, asked.threads))
        for name, runs in taken.items():
            seconds = sorted(run[0] for run in runs)
            spread = f"{median(seconds):.2f} ({seconds[0]:.2f} to {seconds[-1]:.2f})"
            cpu, peak = median(run[1] for run in runs), max(run[2] for run in runs)
            print(f"| {form} | {name} | {spread} | {cpu:.1f} | {peak} |", flush=True)


def first_token(project: Path, model: Path, form: str, threads: int) -> tuple[float, float, int]:
    """Start a process: seconds until its first byte, seconds of CPU time until its end, and its peak in MB."""
    command = [sys.executable, "-m", "gemma_cli", "chat", "--model", str(model), "--assistant", "off", "--no-server"]
    command += ["--temperature", "0", "--max-tokens", "1", "--quiet", "Hello"]
    command += ["--quantize", form] if form in QUANTIZED else ["--dtype", form]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(project)}
    began = perf_counter()
    process = subprocess.Popen(command, env=environment, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(1)
    seconds = perf_counter() - began
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{form}: {process.stderr.read().decode()}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 // 10**6


def forget(folder: Path) -> None:
    """Drop a checkpoint's files, and saved weights, from the page cache."""
    from gemma_cli.store.models.saved_weights import saved_weights

    for file in (*folder.glob("*.safetensors"), *(one.file for one in saved_weights())):
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def write_checkpoint(folder: Path, tokenizer: Path) -> None:
    """Write a checkpoint of E2B's shape with random weights and somebody's tokenizer."""
    text = target_config("e2b")
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "gemma4", "dtype": "bfloat16", "text_config": text}
    _write_weights(folder / "model.safetensors", sorted(_tensors(text)))
    for file in tokenizer.glob("*"):
        if file.name.startswith(("tokenizer", "chat_template", "generation_config")):
            shutil.copy(file, folder)
    (folder / "config.json").write_text(json.dumps(config))


def _tensors(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the text decoder."""
    top, hidden, vocab = "model.language_model.", config["hidden_size"], config["vocab_size"]
    layers, width = config["num_hidden_layers"], config["hidden_size_per_layer_input"]
    yield f"{top}embed_tokens.weight", (vocab, hidden)
    yield f"{top}embed_tokens_per_layer.weight", (vocab, layers * width)
    yield f"{top}per_layer_model_projection.weight", (layers * width, hidden)
    yield f"{top}per_layer_projection_norm.weight", (width,)
    yield f"{top}norm.weight", (hidden,)
    own = layers - config["num_kv_shared_layers"]
    for index, kind in enumerate(config["layer_types"]):
        name, dim = f"{top}layers.{index}.", 512 if kind == "full_attention" else 256
        wide, heads = config["intermediate_size"] * (1 if index < own else 2), config["num_attention_heads"]
        for norm in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
            yield f"{name}{norm}_layernorm.weight", (hidden,)
        yield f"{name}layer_scalar", (1,)
        yield f"{name}self_attn.q_proj.weight", (heads * dim, hidden)
        yield f"{name}self_attn.o_proj.weight", (hidden, heads * dim)
        yield f"{name}self_attn.q_norm.weight", (dim,)
        if index < own:
            for part in "kv":
                yield f"{name}self_attn.{part}_proj.weight", (config["num_key_value_heads"] * dim, hidden)
            yield f"{name}self_attn.k_norm.weight", (dim,)
        for part in ("gate", "up"):
            yield f"{name}mlp.{part}_proj.weight", (wide, hidden)
        yield f"{name}mlp.down_proj.weight", (hidden, wide)
        yield f"{name}per_layer_input_gate.weight", (width, hidden)
        yield f"{name}per_layer_projection.weight", (hidden, width)
        yield f"{name}post_per_layer_input_norm.weight", (hidden,)


def _write_weights(file: Path, tensors: Sequence[tuple[str, tuple[int, ...]]]) -> None:
    """Write a safetensors file piece by piece, for it is larger than memory may be."""
    normal = torch.randn(BLOCK, generator=torch.Generator().manual_seed(0))
    header, at = {}, 0
    for name, shape in tensors:
        size = 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    described = json.dumps(header).encode()
    described += b" " * (-len(described) % 8)
    with file.open("wb") as written:
        written.write(len(described).to_bytes(8, "little") + described)
        for name, shape in tensors:
            gain = 0.02 if "embed_tokens" in name else shape[-1] ** -0.5
            block = normal * gain if len(shape) > 1 else torch.ones(BLOCK)
            content = block.bfloat16().view(torch.int16).numpy().tobytes()
            left = 2 * prod(shape)
            while left > 0:
                left -= written.write(content[:left])


if __name__ == "__main__":
    main()
