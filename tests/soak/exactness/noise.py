"""The noise that chooses tokens: finite, distributed as it should be, and never a reason for a reply to fail."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import torch

from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.errors import GemmaError
from gemma_cli.core.events import collect
from gemma_cli.core.messages import Request, Sampling, ask
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.decoding.sampling import Sampler, gumbel
from tests.soak.outcome import Outcome

PROMISE = "No draw of the noise is infinite, and no sampled reply fails because of it"

DRAWS = 1 << 27
REPLIES = 2_000
CHOICES = 5_000
BLOCK = 1 << 15

VOCAB = 262_144
FITS = 4.5
"""|z| beyond this happens once in some hundred thousand trials of the right law. The seeds are fixed."""

PROMPTS = (
    "hello",
    "Tell me a story.",
    "Count from 1 to 20.",
    "What is 12 + 30?",
    "Translate into German: the red lamp",
)


def trial(scale: float) -> Outcome:
    """DRAWS draws, CHOICES choices among a whole vocabulary, REPLIES replies of pocket with random seeds."""
    parts = draws(math.ceil(DRAWS * scale)), choices(math.ceil(CHOICES * scale)), replies(math.ceil(REPLIES * scale))
    return Outcome(
        tried=sum(part.tried for part in parts),
        failures=[failure for part in parts for failure in part.failures],
        figures="; ".join(part.figures for part in parts),
    )


def draws(count: int) -> Outcome:
    """Draws in blocks of BLOCK ids, at random places: finite, and as many in each range as the law says."""
    edges = torch.tensor([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0], dtype=torch.float64)
    places = random.Random(0)
    seen = torch.zeros(len(edges) + 1, dtype=torch.int64)
    blocks, failures, most = max(1, count // BLOCK), [], -math.inf
    for _ in range(blocks):
        seed, position, first = places.getrandbits(64), places.randrange(VOCAB), places.randrange(VOCAB - BLOCK)
        noise = gumbel(seed, torch.tensor([position]), torch.arange(first, first + BLOCK))
        if not noise.isfinite().all():
            failures.append(f"seed {seed}, position {position}: infinite among ids from {first} on")
        seen += torch.histogram(
            noise[0], torch.cat([edges.new_tensor([-99.0]), edges, edges.new_tensor([99.0])])
        ).hist.long()
        most = max(most, noise.max().item())
    below = [0.0, *(math.exp(-math.exp(-edge)) for edge in edges.tolist()), 1.0]
    z = _fit(seen.tolist(), [high - low for low, high in pairwise(below)])
    if abs(z) > FITS:
        failures.append(f"{blocks * BLOCK} draws do not follow the law: z {z:.1f}")
    return Outcome(blocks * BLOCK, failures, f"{blocks * BLOCK:,} draws, z {z:.1f}, greatest {most:.1f}")


def choices(count: int) -> Outcome:
    """Choices among all ids of a vocabulary."""
    z = fit_of_vocabulary(count)
    failures = [] if abs(z) < FITS else [f"{count} choices among {VOCAB} ids do not follow the law: z {z:.1f}"]
    return Outcome(count, failures, f"{count:,} choices among {VOCAB:,} ids, z {z:.1f}")


def fit_of_vocabulary(count: int) -> float:
    """z of `count` choices without top-k and top-p over sixteen groups of ids, as law.fit gives it."""
    logits = torch.randn(VOCAB, generator=torch.Generator().manual_seed(0)).mul_(3)
    law = torch.softmax(logits.double(), -1)
    order = logits.argsort(descending=True)
    group = torch.empty_like(order).index_copy_(0, order, (law[order].cumsum(0) * 16).long().clamp_(max=15))
    sampler = Sampler(Sampling(top_k=0, top_p=1.0, seed=1))
    chosen = torch.cat([sampler.choose(logits[None], torch.tensor([place])) for place in range(count)])
    mass = torch.zeros(16, dtype=torch.float64).index_add_(0, group, law)
    return _fit(torch.bincount(group[chosen], minlength=16).tolist(), mass.tolist())


def replies(count: int) -> Outcome:
    """Sampled replies of pocket, with the defaults of the command line but for the prompt and the seed."""
    engine, seeds = open_engine(EngineSpec("pocket", device="cpu")), random.Random(1)
    failures, tokens = [], 0
    for index in range(count):
        seed, prompt = seeds.getrandbits(32), PROMPTS[index % len(PROMPTS)]
        try:
            turn = collect(engine.stream(Request(ask(prompt), Sampling(seed=seed))))
        except GemmaError as error:
            failures.append(f"seed {seed}, {prompt!r}: {error}")
        else:
            tokens += turn.usage.completion_tokens
    return Outcome(count, failures, f"{count:,} replies of {tokens:,} tokens")


def _fit(seen: list[int], law: list[float]) -> float:
    """The distance of chi-square from its mean, in standard deviations; what is expected five times or less is taken
    together."""
    total = sum(seen)
    cells = [(n, p * total) for n, p in zip(seen, law, strict=True) if p * total > 5]
    rare = [(n, p * total) for n, p in zip(seen, law, strict=True) if p * total <= 5]
    if rare:
        cells.append((sum(n for n, _ in rare), sum(expected for _, expected in rare)))
    statistic = sum((n - expected) ** 2 / expected for n, expected in cells if expected)
    freedom = len(cells) - 1
    return (statistic - freedom) / math.sqrt(2 * freedom)
