"""Folders that behave as on a full or a read-only disk, for child processes, whoever runs the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

Fault = Literal["full", "readonly"]

CAN_PRELOAD = sys.platform == "linux" and shutil.which("gcc") is not None


def build(folder: Path) -> Path:
    """Compile faulty_disk.c."""
    library = folder / "faulty_disk.so"
    source = Path(__file__).with_name("faulty_disk.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", source, "-o", library, "-ldl"], check=True)
    return library


def faulty(library: Path, folder: Path, fault: Fault) -> dict[str, str]:
    """What to add to a child's environment. `folder` must be spelled as the child spells it."""
    return {"LD_PRELOAD": str(library), "FAULTY_FOLDER": str(folder), "FAULTY": fault}
