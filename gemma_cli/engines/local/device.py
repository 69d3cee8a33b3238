"""Choice of the device and the number format.

    choose_device("auto" | "cpu" | "cuda" | "cuda:1" | "mps") -> torch.device
    choose_dtype("auto" | "float32" | "bfloat16" | "float16", device, size) -> torch.dtype

Call choose_dtype before the first matrix product of the process: some virtual machines advertise matrix instructions
(AMX) whose use kills the process, and the way out, capping the instruction set oneDNN picks its kernels from, is heard
only until then. So a bfloat16 product is tried in a child process once per machine, and the verdict kept.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import torch

from gemma_cli.core.engine import Dtype
from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.store import paths
from gemma_cli.store.atomic_write import write_whole
from gemma_cli.store.bounded_read import read_text
from gemma_cli.store.models.releases import gigabytes

LARGE = 2 << 30
"""Bytes of weights from which half the memory traffic is worth more than float32's faster kernels."""

GPU_CACHE = 256 << 20
"""Bytes; a generous guess at the last-level cache of any GPU."""

AMPERE = (8, 0)
"""The least compute capability of GPUs with instructions for bfloat16."""

_TELLING = ("model name", "flags", "Features", "CPU implementer", "CPU variant", "CPU part", "CPU revision")
"""Lines of /proc/cpuinfo that tell processors apart: Intel's and AMD's, and ARM's."""

CAP = ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")

Verdict = Literal["works", "works capped", "crashes"]

_PROBE = """
import torch
weight = torch.ones(512, 512, dtype=torch.bfloat16)
for rows in (1, 8, 64):
    assert (torch.nn.functional.linear(torch.ones(rows, 512, dtype=torch.bfloat16), weight) == 512).all()
"""


def cuda_build() -> str | None:
    """Return the version of CUDA that this build of torch is for; None for a build without it."""
    version: str | None = torch.version.cuda
    return version


def choose_device(name: str) -> torch.device:
    """ "auto" takes a GPU where there is one; "cuda" without a number becomes another or several where one does not
    hold the model (memory/fit.py). UsageError: no such device here."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}; choose auto, cpu, cuda, cuda:N or mps") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device {name!r} is not supported; choose auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"device {name!r} is not available: torch finds {torch.cuda.device_count()} CUDA devices; choose auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' is not available on this machine; choose auto or cpu")
    return device


def has_float64(device: torch.device) -> bool:
    """Return whether the device computes in double precision. Apple GPUs do not."""
    return device.type != "mps"


def describe(device: torch.device) -> str:
    """Return the name of a GPU and its memory."""
    if device.type != "cuda":
        return "shares main memory"
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name}, {gigabytes(properties.total_memory)}"


def choose_dtype(name: str, device: torch.device, size: int) -> torch.dtype:
    """The format to run weights in that take `size` bytes as they are stored (weight_bytes).

    "auto" is bfloat16, the format Gemma 4 is published in, except on a CPU for small models (float32 kernels are
    faster there, and memory is no matter) and where the CPU cannot run it; and float16 on a GPU that does not compute
    in bfloat16. UsageError: bfloat16 or float16 was asked for where it does not run, or a name that is none.
    """
    if name not in get_args(Dtype):
        raise UsageError(f"unknown data type {name!r}; choose auto, float32, bfloat16 or float16")
    if name == "float32" or (name == "auto" and device.type == "cpu" and size < LARGE):
        return torch.float32
    if name == "float16":
        if device.type == "cpu":
            raise UsageError("--dtype float16 works only on a GPU; use --dtype bfloat16 or float32")
        return torch.float16
    if not bfloat16_on_gpu(device):
        return _instead_of_bfloat16(name, device)
    if device.type == "cpu":
        verdict = bfloat16_on_cpu()
        if verdict == "crashes":
            return _refuse_bfloat16(name, "bfloat16 crashes on this CPU")
        if verdict == "works capped":
            os.environ.setdefault(*CAP)
    return torch.bfloat16


def bfloat16_on_gpu(device: torch.device) -> bool:
    """Return whether a GPU has instructions for bfloat16; True for other devices. torch.cuda.is_bf16_supported also
    counts emulation, which converts every number and is slower than float32."""
    if device.type != "cuda" or not torch.cuda.is_available():  # a plan for a GPU that is not here
        return True
    return torch.cuda.get_device_capability(device) >= AMPERE


def _instead_of_bfloat16(name: str, device: torch.device) -> torch.dtype:
    if name == "bfloat16":
        major, minor = torch.cuda.get_device_capability(device)
        raise UsageError(
            f"{torch.cuda.get_device_name(device)} cannot compute in bfloat16 (compute capability {major}.{minor}, "
            "needed: 8.0); use --dtype float16 or float32"
        )
    return torch.float16


def last_level_cache(device: torch.device) -> int:
    """Return the size of the last-level cache in bytes: on a CPU as Linux reports it, GPU_CACHE elsewhere."""
    if device.type != "cpu":
        return GPU_CACHE
    sizes = [0]
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        size = file.read_text().strip()
        sizes.append(int(size[:-1]) << 10 if size.endswith("K") else int(size[:-1]) << 20)
    return max(sizes) or 32 << 20


def weight_bytes(folder: Path) -> int:
    """Bytes of safetensors in a checkpoint folder."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or one that it was raised in answer to, says that no memory is left.

    GPUs raise torch.OutOfMemoryError; the CPU's and Apple's allocators say it in words, the system by its number.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    words = ("can't allocate memory", "out of memory", os.strerror(errno.ENOMEM))
    if isinstance(error, RuntimeError) and any(word in str(error) for word in words):
        return True
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return before is not None and is_out_of_memory(before)


def bfloat16_on_cpu() -> Verdict:
    """Return whether a bfloat16 matmul runs on this CPU, directly or with oneDNN's instruction set capped; saved per
    processor and torch version."""
    file = paths.cache_dir() / "bfloat16.json"
    known = _read(file)
    key = _machine()
    if key not in known:
        known[key] = _try_bfloat16()
        _write(file, known)
    return known[key]


@functools.cache
def has_tiles() -> bool:
    """Return whether torch uses AMX for bfloat16 matmuls here, which is ten times as fast for many rows."""
    return "amx_bf16" in processor() and CAP[0] not in os.environ and bfloat16_on_cpu() == "works"


def _try_bfloat16() -> Verdict:
    if _survives({}):
        return "works"
    return "works capped" if _survives(dict([CAP])) else "crashes"


def _survives(environment: dict[str, str]) -> bool:
    command = [sys.executable, "-c", _PROBE]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, check=False).returncode == 0


def processor() -> str:
    """The CPU and the instructions it claims."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return "".join(sorted({line for line in lines if line.startswith(_TELLING)})) + platform.machine()


def _machine() -> str:
    """Return the key of the saved result: processor, torch, and a cap already set."""
    asked = f"{processor()} torch {torch.__version__} {os.environ.get(CAP[0], '')}"
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


def _refuse_bfloat16(name: str, reason: str) -> torch.dtype:
    if name == "bfloat16":
        raise UsageError(f"{reason}; use --dtype float32")
    return torch.float32


def _read(file: Path) -> dict[str, Verdict]:
    try:
        known = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError):
        return {}
    verdicts = get_args(Verdict)
    return {key: verdict for key, verdict in known.items() if verdict in verdicts} if isinstance(known, dict) else {}


def _write(file: Path, known: dict[str, Verdict]) -> None:
    """A result that cannot be saved is measured again next time."""
    with suppress(GemmaError):
        write_whole(file, json.dumps(known))
