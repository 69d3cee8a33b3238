"""Which tests run which lines, learned with coverage and stored for later runs.

{"tests": {name: seconds}, "lines": {file: {line: [names]}}, "digests": {file: of the text that this is about}}
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.copied_tree import ROOT, CopiedTree
from tests.mutants.operators import Fault

MOST_S = 40.0
"""Seconds of tests that one fault gets, the quickest first."""

NATIVE = "tests/engines/native/test_native.py"


class Covering:
    """The tests of each line of gemma_cli, as far as they were learned."""

    def __init__(self, path: Path) -> None:
        self.path = path
        stored = json.loads(path.read_text()) if path.exists() else {}
        self.tests: dict[str, float] = stored.get("tests", {})
        self.lines: dict[str, dict[str, list[str]]] = stored.get("lines", {})
        self.digests: dict[str, str] = stored.get("digests", {})

    def knows(self, test_file: str) -> bool:
        """Tell whether a test file was learned as it is."""
        return self.digests.get(test_file) == _digest(test_file)

    def learn(self, tree: CopiedTree, test_file: str, limit_s: float) -> None:
        """Run a test file with coverage. Tests that fail without a fault are left out."""
        with tempfile.NamedTemporaryFile() as out:
            tree.run([test_file], limit_s, lambda: [_Recorder(tree.folder, Path(out.name))])
            found = json.loads(Path(out.name).read_text() or "{}")
        self.tests = {name: seconds for name, seconds in self.tests.items() if not name.startswith(f"{test_file}::")}
        self.tests |= found.get("tests", {})
        self.digests[test_file] = _digest(test_file)
        for file, lines in found.get("lines", {}).items():
            if self.digests.get(file) != (digest := _digest(file)):  # its lines have moved since
                everything = sorted({name for names in self.lines.get(file, {}).values() for name in names})
                self.lines[file] = {"0": everything}
                self.digests[file] = digest
            for line, names in lines.items():
                known = self.lines.setdefault(file, {}).setdefault(line, [])
                known += [name for name in names if name not in known]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps({"tests": self.tests, "lines": self.lines, "digests": self.digests}))

    def of(self, fault: Fault) -> list[str]:
        """List the tests that run the line of a fault, or the nearest line above it, quickest first.

        What runs at import alone has the tests of the whole file, as has a file that was changed since.
        """
        if fault.tests:
            return list(fault.tests)
        if fault.file.endswith(".c"):
            return [NATIVE]
        lines = self.lines.get(fault.file, {})
        above = (lines[str(line)] for line in range(fault.line, max(0, fault.line - 6), -1) if str(line) in lines)
        names = next(above, None) if self.digests.get(fault.file) == _digest(fault.file) else None
        names = names or sorted({name for each in lines.values() for name in each})
        chosen, spent = [], 0.0
        for name in sorted((name for name in names if name in self.tests), key=self.tests.__getitem__):
            spent += self.tests[name]
            if chosen and spent > MOST_S:
                break
            chosen.append(name)
        return chosen


def _digest(file: str) -> str:
    return hashlib.sha256((ROOT / file).read_bytes()).hexdigest()[:16]


class _Recorder:
    """A plugin of pytest: the lines that each test runs, and its seconds."""

    def __init__(self, folder: Path, out: Path) -> None:
        import coverage

        self.folder = folder
        self.out = out
        self.tests: dict[str, float] = {}
        self.failed: set[str] = set()
        self.coverage = coverage.Coverage(
            data_file=None, source=[str(folder / "gemma_cli")], config_file=False, messages=False
        )
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[Any]:
        self.coverage.switch_context(item.nodeid)
        began = time.monotonic()
        result = yield
        self.tests[item.nodeid] = round(time.monotonic() - began, 2)
        self.coverage.switch_context("")
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        data = self.coverage.get_data()
        lines: dict[str, dict[int, list[str]]] = defaultdict(dict)
        for file in data.measured_files():
            name = str(Path(file).relative_to(self.folder))
            for line, contexts in data.contexts_by_lineno(file).items():
                lines[name][line] = [context for context in contexts if context and context not in self.failed]
        tests = {name: seconds for name, seconds in self.tests.items() if name not in self.failed}
        self.out.write_text(json.dumps({"tests": tests, "lines": {k: v for k, v in lines.items() if v}}))
