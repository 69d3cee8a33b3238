"""Whether a row's bits depend on how decoding was cut into target passes, and a reply on how many tokens are drafted.

python -m tests.engines.helpers.exactness bfloat16      prints one line per shape; exits 1 where bits or replies differ
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from gemma_cli.core.messages import GREEDY, Sampling
from gemma_cli.engines.local.decoding.decode import FixedDraftLength
from gemma_cli.engines.local.decoding.decode import decode as speculate
from gemma_cli.engines.local.decoding.sampling import Sampler
from gemma_cli.engines.local.loading.load import load_target
from gemma_cli.engines.local.model.target import Target
from tests.engines.helpers import shapes
from tests.engines.helpers.partly_right_drafter import Knowing, right_seven_times_in_ten

CUTS = ("2", "3", "5", "8", "drafted")


def tokens(count: int, seed: int = 0) -> Tensor:
    return torch.randint(3, 290, (count,), generator=torch.Generator().manual_seed(seed))


def decode(target: Target, ids: Tensor, prompt: int, cut: str) -> tuple[Tensor, Tensor]:
    """Logits and hidden states of ids[prompt:], verified in blocks of one size, or "drafted": in blocks of 1 to 20
    rows whose tail is wrong and rolled back."""
    cache = target.new_cache()
    target.prefill(ids[:prompt], cache)
    logits, hidden = [], []
    for block, right in _blocks(ids, prompt, cut):
        block_logits, block_hidden = target.verify(block, cache)
        cache.rollback(cache.length - len(block) + right)
        logits.append(block_logits[:right])
        hidden.append(block_hidden[:right])
    assert cache.length == len(ids)
    return torch.cat(logits), torch.cat(hidden)


def _blocks(ids: Tensor, first: int, cut: str) -> Iterator[tuple[Tensor, int]]:
    """(rows of a pass, how many of them are right)."""
    chance = random.Random(0)
    while first < len(ids):
        size = chance.randint(1, 20) if cut == "drafted" else int(cut)
        right = min(chance.randint(1, size) if cut == "drafted" else size, len(ids) - first)
        wrong = tokens(size - right, seed=first) if cut == "drafted" else ids[:0]
        yield torch.cat((ids[first : first + right], wrong)), right
        first += right


def differing(target: Target, count: int, prompt: int = 10, cuts: tuple[str, ...] = CUTS) -> dict[str, int]:
    """Rows of `count` after a prompt whose bits differ from decoding one token at a time, by cut; empty where none
    does."""
    ids = tokens(count)
    expected = decode(target, ids, prompt, "1")
    found = {}
    for cut in cuts:
        logits, hidden = decode(target, ids, prompt, cut)
        wrong = (logits != expected[0]).any(1) | (hidden != expected[1]).any(1)
        if wrong.any():
            found[cut] = int(wrong.sum())
    return found


def astray(target: Target, sampling: Sampling, prompt: int = 40, count: int = 16) -> list[int]:
    """The draft lengths 1 to 8 at which a reply of `count` tokens is not the one without drafts."""
    cache = target.new_cache()
    prefilled = target.prefill(tokens(prompt), cache)
    end = cache.snapshot()

    def reply(drafter: Knowing | None, drafts: int) -> list[int]:
        cache.restore(end)
        bursts = speculate(
            *(target, drafter, cache, prefilled, Sampler(sampling), FixedDraftLength(drafts)),  # type: ignore[arg-type]
            stop=(),
            limit=count,
        )
        return [token for burst in bursts for token in burst.tokens]

    plain = reply(None, 0)
    knowing = Knowing(plain, prompt, right_seven_times_in_ten, target.vocab_size)
    return [drafts for drafts in range(1, 9) if reply(knowing, drafts) != plain]


def main(dtype: torch.dtype) -> int:
    torch.set_num_threads(1)
    failed = False
    for name in shapes.NAMES:
        with tempfile.TemporaryDirectory() as folder:
            shapes.save(shapes.stock_target(name), Path(folder))
            target = load_target(Path(folder), torch.device("cpu"), dtype)
            found = differing(target, 300, prompt=210, cuts=("2", "drafted"))
        wrong = astray(target, GREEDY) + astray(target, Sampling())
        print(name, target.rows, found or "equal", f"replies differ at {wrong} drafts" if wrong else "")
        failed |= bool(found or wrong) or not target.rows.exact
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(getattr(torch, sys.argv[1])))
