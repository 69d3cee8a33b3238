"""Compare the memory that loading takes with the estimate.

    python -m tests.engines.helpers.loading_memory [float32|bfloat16] [int8|int4]

Makes a checkpoint of half a gigabyte with random weights in a temporary folder. Anonymous memory is what the process
owns; pages of the mapped files, which the system may take back at any time, are told apart.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma4ForCausalLM, Gemma4TextConfig

from gemma_cli.engines.local.loading.load import load_target
from gemma_cli.engines.local.loading.memory.estimate import needs, plan_folder

SHAPE: dict[str, Any] = {
    **{"vocab_size": 65536, "vocab_size_per_layer_input": 65536, "hidden_size": 1024, "intermediate_size": 4096},
    **{"num_hidden_layers": 10, "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 2},
    **{"num_kv_shared_layers": 4, "hidden_size_per_layer_input": 64, "num_attention_heads": 8},
    **{"num_key_value_heads": 2, "head_dim": 128, "global_head_dim": 256},
}


def resident() -> tuple[int, int]:
    """MiB of this process in main memory: (its own, of mapped files). Linux."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, mapped = (int(lines[name].split()[0]) >> 10 for name in ("RssAnon", "RssFile"))
    return own, mapped


def main(dtype: str = "bfloat16", quantize: Any = None) -> None:
    torch.set_num_threads(1)
    cpu, kind = torch.device("cpu"), getattr(torch, dtype)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Gemma4ForCausalLM(Gemma4TextConfig(**SHAPE)).bfloat16().save_pretrained(folder)
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) >> 20
        foretold = needs(plan_folder(folder, None, cpu, kind, quantize))
        before, _ = resident()
        most, done = before, threading.Event()

        def watch() -> None:
            nonlocal most
            while not done.wait(0.002):
                most = max(most, resident()[0])

        watching = threading.Thread(target=watch)
        watching.start()
        target = load_target(folder, cpu, kind, quantize)
        done.set()
        watching.join()
        own, mapped = resident()
        print(
            f"{size} MiB of files in {dtype} {quantize or ''}: foretold {foretold.weights >> 20} MiB of weights and "
            f"{foretold.working >> 20} to work in; took {own - before}, {most - before} at most; {mapped} mapped"
        )
        del target


if __name__ == "__main__":
    main(*sys.argv[1:])
