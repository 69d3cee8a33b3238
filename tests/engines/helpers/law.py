"""Is what comes out distributed as the target says? Goodness of fit of whole replies against their exact law.

    python -m tests.engines.helpers.law [--draws 20000] [--stock-draws 3000]

A small random Gemma 4 over eight tokens, so that the probability of every reply of three tokens can be written down:
the logits come from transformers' forward, their temperature, top-k and top-p from transformers' own classes, and
nothing of what is tested takes part. Then replies are drawn, one per seed, and counted. Under the right law the
chi-square statistic has mean `freedom` and variance twice that; z is its distance from the mean in standard deviations.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma4AssistantForCausalLM, Gemma4ForCausalLM
from transformers.generation import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from gemma_cli.core.messages import Sampling
from gemma_cli.engines.local.decoding.decode import FixedDraftLength, decode
from gemma_cli.engines.local.decoding.sampling import Sampler
from gemma_cli.engines.local.loading import load
from tests.engines.helpers import tiny

VOCAB = 8
PROMPT = (2, 5, 3, 7, 4)
TOKENS = 3
SAMPLING = Sampling(temperature=0.8, top_k=6, top_p=0.95)

Reply = tuple[int, ...]


@dataclass
class Models:
    """The same weights twice: ours and transformers'."""

    target: Any
    drafter: Any
    stock: Any
    assistant: Any


def build(folder: Path) -> Models:
    """A random target and drafter over VOCAB tokens, in float32."""
    config = tiny.text_config(VOCAB, num_hidden_layers=2, layer_types=["sliding_attention", "full_attention"])
    config.num_kv_shared_layers, config.eos_token_id = 0, None
    stock = tiny.randomized(Gemma4ForCausalLM(config), 1, 0.15)
    stock.save_pretrained(folder / "target")
    wrapped = argparse.Namespace(text_config=config)
    assistant = tiny.randomized(Gemma4AssistantForCausalLM(tiny.assistant_config(wrapped)), 2, 0.15)  # type: ignore[arg-type]
    assistant.save_pretrained(folder / "assistant")
    target = load.load_target(folder / "target", torch.device("cpu"), torch.float32)
    return Models(target, load.load_drafter(folder / "assistant", target), stock, assistant)


@torch.no_grad()
def exact_law(stock: Any, sampling: Sampling = SAMPLING) -> dict[Reply, float]:
    """The probability of every reply of TOKENS tokens."""
    law: dict[Reply, float] = {(): 1.0}
    for _ in range(TOKENS):
        longer: dict[Reply, float] = {}
        for reply, chance in law.items():
            scores = stock(input_ids=torch.tensor([[*PROMPT, *reply]])).logits[:, -1].double()
            scores = TemperatureLogitsWarper(sampling.temperature)(None, scores)
            scores = TopPLogitsWarper(sampling.top_p)(None, TopKLogitsWarper(sampling.top_k)(None, scores))
            for token, share in enumerate(torch.softmax(scores, -1)[0].tolist()):
                if share:
                    longer[(*reply, token)] = chance * share
        law = longer
    return law


def draw(models: Models, seeds: Iterable[int], draft_tokens: int = 2, sampling: Sampling = SAMPLING) -> Counter[Reply]:
    """One reply per seed from our engine. The prompt is read once; each reply is one more token long than counted,
    or its last token could never have been drafted."""
    cache = models.target.new_cache()
    prefilled = models.target.prefill(torch.tensor(PROMPT), cache)
    counts: Counter[Reply] = Counter()
    for seed in seeds:
        cache.rollback(len(PROMPT))
        sampler = Sampler(replace(sampling, seed=seed))
        bursts = decode(
            *(models.target, models.drafter, cache, prefilled, sampler, FixedDraftLength(draft_tokens)),
            stop=(),
            limit=TOKENS + 1,
        )
        counts[tuple(itertools.chain.from_iterable(burst.tokens for burst in bursts))[:TOKENS]] += 1
    return counts


def draw_stock(models: Models, seeds: Iterable[int], draft_tokens: int = 2) -> Counter[Reply]:
    """The same from transformers: generate(assistant_model=..., do_sample=True); plain sampling for no drafts."""
    models.assistant.generation_config.num_assistant_tokens = draft_tokens
    options: dict[str, Any] = {"assistant_model": models.assistant} if draft_tokens else {}
    counts: Counter[Reply] = Counter()
    for seed in seeds:
        torch.manual_seed(seed)
        ids = models.stock.generate(
            torch.tensor([PROMPT]),
            **options,
            **{"do_sample": True, "temperature": SAMPLING.temperature, "top_k": SAMPLING.top_k},
            **{"top_p": SAMPLING.top_p, "max_new_tokens": TOKENS + 1, "eos_token_id": None, "pad_token_id": 0},
        )
        counts[tuple(ids[0, len(PROMPT) :].tolist())[:TOKENS]] += 1
    return counts


@dataclass(frozen=True)
class Fit:
    """draws; z of the chi-square; total variation between what was seen and the law (its mean is not 0, but what
    `draws` draws from the law itself would give)."""

    draws: int
    z: float
    distance: float


def fit(counts: Counter[Reply], law: dict[Reply, float]) -> Fit:
    """Chi-square over the replies, those expected fewer than five times taken together."""
    draws = counts.total()
    impossible = sum(count for reply, count in counts.items() if reply not in law)
    cells = [(counts[reply], chance * draws) for reply, chance in law.items() if chance * draws >= 5]
    rare = [(counts[reply], chance * draws) for reply, chance in law.items() if chance * draws < 5]
    if rare:
        cells.append((sum(seen for seen, _ in rare), sum(expected for _, expected in rare)))
    statistic = sum((seen - expected) ** 2 / expected for seen, expected in cells)
    freedom = len(cells) - 1
    distance = sum(abs(counts[reply] / draws - chance) for reply, chance in law.items()) + impossible / draws
    z = float("inf") if impossible else (statistic - freedom) / (2 * freedom) ** 0.5
    return Fit(draws, z, distance / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--stock-draws", type=int, default=3_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        models = build(Path(folder))
        law = exact_law(models.stock)
        print(f"{len(law)} replies of {TOKENS} tokens; z beyond 4 is not the law")
        rows: list[tuple[str, int, Callable[[Iterable[int]], Counter[Reply]]]] = [
            *((f"gemma, {k} drafts", options.draws, lambda s, k=k: draw(models, s, k)) for k in (0, 1, 2)),  # type: ignore[misc]
            ("transformers, no drafter", options.stock_draws, lambda s: draw_stock(models, s, 0)),
            ("transformers, 2 drafts", options.stock_draws, lambda s: draw_stock(models, s, 2)),
        ]
        for name, draws, sample in rows:
            found = fit(sample(range(draws)), law)
            print(f"{name:26} {found.draws:6} draws   z {found.z:8.1f}   total variation {found.distance:.3f}")


if __name__ == "__main__":
    main()
