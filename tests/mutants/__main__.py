"""Plants single faults in a copy of the project and reports those that no test notices.

    python -m tests.mutants --minutes 10                       random faults all over gemma_cli
    python -m tests.mutants --paths gemma_cli/text --learn tests/text
    python -m tests.mutants --listed                           the faults of tests/mutants/listed.py
    python -m tests.mutants --report                           what was found so far

Which tests run which line is learned with `--learn TESTS...` (coverage, from the dev extra). What was learned and found
is stored in .mutants/, so a run that is stopped goes on where it was: the order of faults follows from the seed. Tests
that start the installed program do not see the copy and notice nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.mutants.copied_tree import ROOT, CopiedTree
from tests.mutants.covering import Covering
from tests.mutants.listed import listed
from tests.mutants.operators import Fault, faults_in

STORE = ROOT / ".mutants"
RESULTS = STORE / "results.jsonl"
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
LIMIT_S = 150.0


def main() -> int:
    """Plant faults until the time is over, then report."""
    options = _options()
    until = time.monotonic() + options.minutes * 60
    covering = Covering(STORE / "covering.json")
    if not options.report:
        _import_what_is_heavy()
        with tempfile.TemporaryDirectory(prefix="mutants") as folder:
            os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"  # kernels of a faulty tree stay out of the user's
            tree = CopiedTree(Path(folder) / "tree")
            _learn(covering, tree, options.learn, until)
            for fault in _chosen(options):
                if time.monotonic() > until:
                    break
                _record(fault, covering, tree)
    return _report(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="start no fault after that")
    parser.add_argument("--count", type=int, default=10**6, help="of random faults, those done before included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--paths", nargs="+", default=["gemma_cli"], help="files and folders to plant in")
    parser.add_argument("--learn", nargs="+", default=[], help="tests of which to learn the lines they run")
    parser.add_argument("--listed", action="store_true", help="plant the listed faults, not random ones")
    parser.add_argument("--report", action="store_true", help="plant none")
    return parser.parse_args()


def _import_what_is_heavy() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import hypothesis
    import torch
    import transformers.models.gemma4.modeling_gemma4  # noqa: F401

    assert hypothesis
    torch.set_num_threads(1)


def _learn(covering: Covering, tree: CopiedTree, paths: list[str], until: float) -> None:
    for path in paths:
        whole = [ROOT / path] if path.endswith(".py") else sorted((ROOT / path).rglob("test_*.py"))
        for file in (str(each.relative_to(ROOT)) for each in whole):
            if not covering.knows(file) and time.monotonic() < until:
                print(f"learning {file}", flush=True)
                covering.learn(tree, file, LIMIT_S)


def _chosen(options: argparse.Namespace) -> list[Fault]:
    """List what is to be planted, in the order of the seed."""
    if options.listed:
        return listed(ROOT)
    files = [file for path in options.paths for file in _sources(ROOT / path)]
    every = [fault for file in files for fault in faults_in(str(file.relative_to(ROOT)), file.read_bytes())]
    random.Random(options.seed).shuffle(every)
    return every[: options.count]


def _sources(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*.*") if file.suffix in (".py", ".c"))


def _key(fault: Fault) -> str:
    """Name a fault in this text of its file."""
    text = (ROOT / fault.file).read_bytes()
    return hashlib.sha256(b"%s %d %s" % (text, fault.start, fault.name.encode())).hexdigest()[:16]


def _results() -> dict[str, dict[str, str]]:
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return {found["key"]: found for found in map(json.loads, lines)}


def _record(fault: Fault, covering: Covering, tree: CopiedTree) -> None:
    """Plant a fault unless that was done, and store what became of it."""
    if _key(fault) in _results():
        return
    outcome = _outcome(fault, covering, tree)
    print(f"{outcome}: {fault.name}", flush=True)
    STORE.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        print(json.dumps({"key": _key(fault), "outcome": outcome, "name": fault.name}), file=file)


def _outcome(fault: Fault, covering: Covering, tree: CopiedTree) -> str:
    tests = covering.of(fault)
    if not tests:
        return "not run by a test"
    with tree.planted(fault):
        code = tree.run(["-x", *tests], LIMIT_S)
    if code is None:
        return "noticed (hangs)"
    return {0: "survived", 1: "noticed", 2: "noticed", 4: "noticed", 5: "not run by a test"}.get(code, "noticed (dies)")


def _report(options: argparse.Namespace) -> int:
    chosen = [(fault, _results().get(_key(fault))) for fault in _chosen(options)]
    done = [(fault, found["outcome"]) for fault, found in chosen if found]
    known = set(EQUIVALENT.read_text().splitlines())
    counts = Counter(
        "equivalent" if f"{fault.file}: {fault.words}" in known and not outcome.startswith("noticed") else outcome
        for fault, outcome in done
    )
    for fault, outcome in done:
        if not outcome.startswith("noticed") and f"{fault.file}: {fault.words}" not in known:
            print(f"{outcome}: {fault.name}")
    noticed = sum(count for outcome, count in counts.items() if outcome.startswith("noticed"))
    judged = sum(counts.values()) - counts["equivalent"]
    print(f"{noticed} of {judged} noticed ({noticed / max(judged, 1):.0%}); {dict(counts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
