"""Checks of the device: its memory and kernels, and which models fit."""

from __future__ import annotations

from collections.abc import Iterator

from gemma_cli.commands.doctor_parts.check import Check
from gemma_cli.store.models.hub import is_here
from gemma_cli.store.models.releases import POCKET, RELEASES, gigabytes


def device_checks() -> Iterator[Check]:
    from gemma_cli.engines.local.device import bfloat16_on_cpu, choose_device, describe
    from gemma_cli.engines.local.kernel_table import describe as describe_kernels
    from gemma_cli.engines.local.loading.memory.fit import fitting, places
    from gemma_cli.engines.local.threads import set_threads

    device = choose_device("auto")
    there = places(device)
    spread = "; a model that is too large for one GPU is split across all GPUs" if len(there) > 1 else ""
    yield Check("device", f"{device}{spread}", True)
    for each, free in there.items() if device.type != "cpu" else ():
        yield Check(str(each), f"{describe(each)}, {gigabytes(free)} free")
    yield from torch_build(device.type)
    if device.type == "cpu":
        threads = set_threads()
        yield Check("threads", f"{threads.count}: {threads.reason}", True)
        verdict = bfloat16_on_cpu()
        yield Check("bfloat16", f"{verdict} on this CPU", verdict != "crashes" or None)
    if device.type in ("cpu", "cuda"):
        found, ours = describe_kernels(device)
        yield Check("kernels", found, ours or None)
    yield Check("quantize", _quantizations(device.type))
    here = {release.alias for release in RELEASES if is_here(release)}
    fit = {way: way.partition(" ")[0] for way in fitting(device)}
    yield Check("models that fit", ", ".join([POCKET, *(way for way, alias in fit.items() if alias in here)]))
    absent = (f"{way} ({gigabytes(_download(alias))} to fetch)" for way, alias in fit.items() if alias not in here)
    yield Check("would fit", ", ".join(absent) or "no other")


def torch_build(device_type: str) -> Iterator[Check]:
    """Notice a build of torch for NVIDIA GPUs where there is none: most of what is installed then is never used."""
    from gemma_cli.engines.local.device import cuda_build

    if (version := cuda_build()) and device_type != "cuda":
        found = f"torch is built for CUDA {version}, but this machine has no usable NVIDIA GPU"
        yield Check(
            "torch build",
            found,
            None,
            "a torch for CPUs saves more than 4 GB: uv pip install --torch-backend=cpu --reinstall torch",
        )


def _quantizations(device_type: str) -> str:
    """Which of --quantize's values run, and how."""
    from gemma_cli.engines.local import native
    from gemma_cli.engines.local.device import choose_device
    from gemma_cli.engines.local.model.layers.quantized import OUT_MULTIPLE, int4_runs
    from gemma_cli.engines.local.model.layers.torch_int8 import integer_products

    if device_type not in OUT_MULTIPLE:
        return f"not on {device_type}"
    device = choose_device(device_type)
    integers = native.on(device) or (device_type == "cpu" and integer_products())
    return f"int8{' (integer kernels)' if integers else ''}" + (
        ", int4" if int4_runs(device_type) else "; int4 does not run"
    )


def _download(alias: str) -> int:
    return next(release.download for release in RELEASES if release.alias == alias)
