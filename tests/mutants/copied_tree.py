"""A copy of the project in which faults are planted, and runs of its tests in forks of one process.

The process has imported torch and pytest but nothing of the project, so that a run costs what its tests cost.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mutants.operators import Fault

ROOT = Path(__file__).parents[2]


class CopiedTree:
    """The files of the project in another folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in listed.splitlines():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
        self.forget()

    @contextmanager
    def planted(self, fault: Fault) -> Iterator[None]:
        """Hold one fault in the copy. Its time stamp differs, so that Python compiles the file and no other."""
        path = self.folder / fault.file
        before, stat = path.read_bytes(), path.stat()
        try:
            path.write_bytes(fault.applied(before))
            os.utime(path, (stat.st_atime, stat.st_mtime + 10))
            yield
        finally:
            path.write_bytes(before)
            os.utime(path, (stat.st_atime, stat.st_mtime))

    def run(self, arguments: list[str], limit_s: float, before: Callable[[], list[object]] = list) -> int | None:
        """Run pytest in a fork; the result is its exit code, None where it took too long.

        before: called in the fork; returns plugins of pytest.
        """
        child = os.fork()
        if not child:
            os.setsid()
            self._be_pytest(arguments, before)
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                self._kill(child)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        self._kill(child)
        os.waitpid(child, 0)
        return None

    def _be_pytest(self, arguments: list[str], before: Callable[[], list[object]]) -> None:
        """Run pytest on the copy and end the process."""
        code = 3
        try:
            os.chdir(self.folder)
            sys.path[:] = [str(self.folder), *(path for path in sys.path if path not in ("", str(ROOT)))]
            self.forget()
            os.environ["PYTHONPATH"] = str(self.folder)
            silence = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(silence, stream)
            import pytest

            code = int(pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=before()))
        finally:
            os._exit(code)

    @staticmethod
    def forget() -> None:
        """Let the project be imported anew."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "gemma_cli"]:
            del sys.modules[name]

    @staticmethod
    def _kill(child: int) -> None:
        """Kill the fork with all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
