"""Faults chosen by hand, each of which a user would suffer from: what stands in a file, what replaces it, and the tests
that are to notice it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from tests.mutants.operators import Fault


class Listed(NamedTuple):
    """One replacement, what a user would meet, and arguments of pytest that choose tests."""

    file: str
    old: str
    new: str
    words: str
    tests: str


_LOCAL = "gemma_cli/engines/local"
_DECODING = f"{_LOCAL}/decoding"
_TESTS = "tests/engines/decoding/test"

LISTED = (
    Listed(
        f"{_DECODING}/prefix_cache.py",
        "one.ids[:rows] == other.ids[:rows] and media[0] == media[1]",
        "one.ids[:rows] == other.ids[:rows] and len(media[0]) == len(media[1])",
        "another picture of the same size is answered from the cache",
        'tests/engines/test_engine.py -k "reuse_gives and 16"',
    ),
    Listed(
        f"{_DECODING}/decode.py",
        "positions = _positions(newest + 1, count, token.device)",
        "positions = _positions(newest, count, token.device)",
        "the drafter gets the noise of the position before: the text stays, the speed is gone",
        f"{_TESTS}_decode.py -k scores_of_the_target",
    ),
    Listed(
        f"{_DECODING}/decode.py",
        "min(left, target.rows.most) - 1)",
        "min(left + 1, target.rows.most) - 1)",
        "a copied draft runs past the last token",
        f"{_TESTS}_decode.py -k copy_ends",
    ),
    Listed(
        f"{_DECODING}/cuda_graphs.py",
        "bucket(latest + self.rows - 1)",
        "bucket(latest)",
        "a round launched ahead reads too few keys near a bucket's end",
        f"{_TESTS}_cuda_graphs.py -k wherever_a_bucket_ends",
    ),
    Listed(
        f"{_DECODING}/sampling.py",
        "uniform.log_().neg_().log_().neg_().float().double()",
        "uniform.float().log_().neg_().log_().neg_().double()",
        "noise in float32",
        f"{_TESTS}_sampling.py",
    ),
    Listed(
        f"{_DECODING}/sampling.py",
        "x = _folded(x, 27).mul_",
        "x = _folded(x, 28).mul_",
        "another mixer: every text of every seed is another",
        f"{_TESTS}_sampling.py",
    ),
    Listed(
        f"{_DECODING}/sampling.py",
        'logits.double().sub_(best).div_(self._numbers["temperature"])',
        'logits.sub(best).div_(self._numbers["temperature"]).double()',
        "scores are divided in float32",
        f"{_TESTS}_sampling.py",
    ),
    Listed(
        f"{_DECODING}/prefix_cache.py",
        "del self._kept[: 1 - SNAPSHOTS]",
        "pass",
        "snapshots pile up in memory",
        f"{_TESTS}_held_memory.py {_TESTS}_prefix_cache.py",
    ),
    Listed(
        f"{_LOCAL}/native/attention.c",
        "exponential(load(scores + at) - most)",
        "exponential(load(scores + at) - (most > 1e30f ? most : 0))",
        "softmax without its maximum",
        'tests/engines/native/test_native.py -k "native and far_apart and not x86"',
    ),
    Listed(
        f"{_LOCAL}/constraints/reply_rules.py",
        "self._budget - state.thought >= EMPTY_THOUGHT",
        "self._budget - state.thought > EMPTY_THOUGHT",
        "a thinking budget that just holds a thought allows none",
        "tests/engines/constraints/test_constraint.py",
    ),
    Listed(
        "gemma_cli/core/tool_calls/literals.py",
        "return (number,) if math.isfinite(number) else None",
        "return (number,)",
        "1e999 in a tool call becomes infinity, and --json fails",
        "tests/core/test_tool_calls.py",
    ),
    Listed(
        "gemma_cli/store/session_schema.py",
        "synchronous = FULL",
        "synchronous = OFF",
        "a power cut loses turns",
        "tests/store/test_power_cut.py",
    ),
    Listed(
        "gemma_cli/store/session_schema.py",
        "secure_delete = ON",
        "secure_delete = OFF",
        "deleted chats stay readable",
        "tests/store/test_sessions.py",
    ),
    Listed(
        "gemma_cli/store/journal.py",
        "os.fsync(self._file.fileno())",
        "pass",
        "a power cut loses finished replies",
        "tests/store/test_power_cut.py",
    ),
    Listed(
        "gemma_cli/store/atomic_write.py",
        "os.fsync(file.fileno())",
        "pass",
        "a power cut leaves an empty file",
        "tests/store/test_power_cut.py",
    ),
    Listed(
        "gemma_cli/store/atomic_write.py",
        "            sync_folder(folder)",
        "            pass",
        "a rename is lost",
        "tests/store/test_power_cut.py",
    ),
    Listed(
        "gemma_cli/store/models/transfer.py",
        "os.fsync(partial.fileno())",
        "pass",
        "a power cut leaves a download that passes for whole",
        "tests/store/test_download.py -k on_the_disk",
    ),
    Listed(
        "gemma_cli/store/export.py",
        "os.O_EXCL, 0o600",
        "os.O_EXCL, 0o644",
        "an exported chat can be read by others",
        "tests/store/test_sessions.py",
    ),
    Listed(
        "gemma_cli/media/fetching/fetch.py",
        "httpcore2.ConnectionPool(network_backend=Network(peers, deadline))",
        "httpcore2.ConnectionPool()",
        "redirects into the local network are followed",
        "tests/media/test_fetch.py",
    ),
    Listed(
        "gemma_cli/media/fetching/fetch.py",
        '(url.scheme == "https" and not led.lower().startswith("https:"))',
        "False",
        "https redirected to http is followed",
        "tests/media/test_fetch.py",
    ),
    Listed(
        "gemma_cli/views/sanitize.py",
        '| dict.fromkeys(_BREAKS, " ")',
        "",
        "a line separator in a file name breaks the line",
        "tests/views/test_sanitize.py",
    ),
    Listed(
        "gemma_cli/views/json.py",
        "    out.flush()",
        "    pass",
        "--stream-json arrives at the end, not as it happens",
        "tests/views/test_json_view.py",
    ),
    Listed(
        "gemma_cli/views/signals.py",
        "termios.tcsetattr(sys.stdin, termios.TCSADRAIN, attributes)",
        "pass",
        "the shell has no echo after the program",
        "tests/repl/test_repl_terminal.py -k leaving",
    ),
    Listed(
        "gemma_cli/repl/confirm.py",
        "with held_back(input):",
        "if True:",
        "keys typed earlier allow a tool call",
        "tests/tools/test_permission.py",
    ),
)


def listed(root: Path) -> list[Fault]:
    """Find where the listed faults are planted. Raises ValueError where the list is out of date."""
    faults = []
    for entry in LISTED:
        source = (root / entry.file).read_bytes()
        old = entry.old.encode()
        if source.count(old) != 1:
            raise ValueError(f"{entry.file}: {entry.old!r} stands there {source.count(old)} times")
        start = source.index(old)
        line = source.count(b"\n", 0, start) + 1
        tests = tuple(shlex.split(entry.tests))
        faults.append(Fault(entry.file, line, start, start + len(old), entry.new, entry.words, tests))
    return faults
