"""Environment variables of libraries, set before they are imported; values that are set already stay."""

from __future__ import annotations

import os

from gemma_cli.store.models import offline

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Nothing is sent or fetched unless asked (see store/models/offline.py too)."""

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
"""How OpenMP's threads wait for each other. Where the user sets neither they sleep: threads that spin at a barrier take
the cores from the very thread they wait for as soon as anything else runs. libgomp reads it when it is loaded."""


def prepare_libraries() -> None:
    """Keep the libraries offline and quiet, and let OpenMP's threads sleep while they wait."""
    offline.keep_libraries_offline()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = "0"
