"""The figures of a bench as the object that `--json` prints, and each reply as a line of `--samples`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gemma_cli.benchmark.figures import ArmFigures, Comparison, Report, ratio
from gemma_cli.benchmark.runner import Measurement
from gemma_cli.core.events import Speculation

Describe = Callable[[Speculation, int], dict[str, Any] | None]
"""Writes figures of drafting as every command does (views.json)."""


def as_object(report: Report, speculation: Describe) -> dict[str, Any]:
    """A field that does not apply is null, never 0."""
    info, best = report.info, report.overall.best
    said = len(report.arms) > 1 and info.synthetic_acceptance is None
    return {
        "model": info.model,
        "device": info.device,
        "dtype": info.dtype or None,
        "quantize": info.quantize,
        "seed": report.sampling.seed,
        "temperature": report.sampling.temperature,
        "synthetic_acceptance": info.synthetic_acceptance,
        "runs": report.runs,
        "arms": [_arm(figures, speculation) for figures in report.arms],
        "categories": [
            {"name": name, "arms": [_arm(figures, speculation) for figures in (*compared.own, *compared.peers)]}
            for name, compared in report.categories.items()
        ],
        "speedup": _rounded(report.speedup),
        "texts_equal": report.divergence is None if said else None,
        "first_divergence": vars(report.divergence) if report.divergence else None,
        "peer": _peer(report, speculation),
        "ratio_to_peer": _ratios(report.overall) if report.peer else None,
        "round_efficiency": _rounded(best.round_efficiency if best else None),
        "bandwidth": report.bandwidth and round(report.bandwidth),
    }


def _peer(report: Report, speculation: Describe) -> dict[str, Any] | None:
    if report.peer is None:
        return None
    return {
        "name": report.peer,
        "arms": [_arm(figures, speculation) for figures in report.overall.peers],
        "first_divergence": vars(report.peer_divergence) if report.peer_divergence else None,
    }


def _ratios(compared: Comparison) -> dict[str, float | None]:
    """Our median speed over the peer's, drafting and plain alike, and our best over its plain decoding."""
    plain, best = compared.plain, compared.best
    return {
        "plain": _rounded(ratio(plain, compared.peer_of(plain))),
        "speculative": _rounded(ratio(best, compared.peer_of(best))),
        "speculative_to_plain": _rounded(ratio(best, compared.peer_of(plain))),
    }


def _arm(figures: ArmFigures, speculation: Describe) -> dict[str, Any]:
    speed, draft_tokens = figures.tokens_per_second, figures.arm.drafting.draft_tokens
    return {
        "name": figures.arm.name,
        "draft_tokens": draft_tokens,
        "tokens_per_second": {key: round(value, 2) for key, value in vars(speed).items()} if speed else None,
        "ttft_s": None if figures.ttft_s is None else round(figures.ttft_s, 4),
        "prompt_tokens": round(figures.prompt_tokens, 1),
        "round_efficiency": _rounded(figures.round_efficiency),
        "speculation": speculation(figures.speculation, draft_tokens),
    }


def sample(measurement: Measurement) -> dict[str, Any]:
    """One reply as it was measured; run 0 warmed up."""
    turn = measurement.turn
    return {
        "run": measurement.run,
        "arm": measurement.arm.name,
        "draft_tokens": measurement.arm.drafting.draft_tokens,
        "category": measurement.prompt.category,
        "prompt": measurement.prompt.text,
        "prompt_tokens": turn.usage.prompt_tokens,
        "completion_tokens": turn.usage.completion_tokens,
        "ttft_s": turn.timings.ttft_s,
        "decode_s": turn.timings.decode_s,
        "rounds": [[passed.drafted, passed.accepted] for passed in turn.speculation.rounds],
        "text": turn.thinking + turn.text,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
