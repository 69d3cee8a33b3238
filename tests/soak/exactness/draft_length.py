"""The draft length that decodes fastest is found again, whatever was learned before."""

import random
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

from tests.engines.helpers.simulated_draft_length import after_learning, prior, truth
from tests.soak.outcome import Outcome

PROMISE = "after 200 rounds the default is within 5 % of the best fixed draft length, whatever it had learned before"
CASES = 2_000
NEAR, REPLIES = 0.95, 12


def trial(scale: float) -> Outcome:
    """Simulated machines and texts, and pocket with a file that remembers a busy hour."""
    cases = max(10, round(CASES * scale))
    speeds = [simulated(seed) for seed in range(cases)]
    failures = [f"case {seed}: {speed:.3f} of the best" for seed, speed in enumerate(speeds) if speed < NEAR]
    real = poisoned_pocket()
    if real < NEAR:
        failures.append(f"pocket with a poisoned file: {real:.3f} of the best fixed length")
    figures = f"slowest {min(speeds):.3f}, median {median(speeds):.3f} of the best; poisoned pocket {real:.3f}"
    return Outcome(cases + 1, failures, figures)


def simulated(seed: int) -> float:
    """The speed of one case after 200 rounds, as a share of the best fixed length's."""
    rng = random.Random(seed)
    return after_learning(prior(rng), truth(rng), seed)


def poisoned_pocket() -> float:
    """The same, measured: pocket begins with times of a busy hour in which short drafts happened to be fast."""
    from gemma_cli.core.engine import EngineSpec
    from gemma_cli.core.events import collect
    from gemma_cli.core.messages import GREEDY, Drafting, Request, ask
    from gemma_cli.engines.local.decoding.draft_length import AdaptiveDraftLength, from_json, to_json
    from gemma_cli.engines.local.decoding.draft_length_file import SavedDraftLength
    from gemma_cli.engines.local.opening import open_local

    engine = open_local(EngineSpec("pocket"))
    with tempfile.TemporaryDirectory() as folder:
        poisoned = AdaptiveDraftLength(seconds=[0.001, 0.0157, 0.0015, 0.0168, 0.0136, None, None, None, None])
        engine.kept = SavedDraftLength(Path(folder) / "pace.json", from_json(to_json(poisoned)))
        request = Request(ask("Count from 1 to 40."), replace(GREEDY, max_tokens=128))

        def speed(drafting: Drafting) -> float:
            turn = collect(engine.stream(replace(request, drafting=drafting)))
            return (turn.usage.completion_tokens or 0) / (turn.timings.decode_s or 1.0)

        default = Drafting(adaptive=True)
        rounds = 0
        while rounds < 200:
            rounds += collect(engine.stream(replace(request, drafting=default))).speculation.target_passes or 0
        arms = (default, *(Drafting(drafts) for drafts in range(default.draft_tokens + 1)))
        seen = [[speed(arm) for arm in arms] for _ in range(REPLIES)]  # in turns, so that all meet the same load
    ours, *fixed = (median(column) for column in zip(*seen, strict=True))
    return float(ours / max(fixed))
