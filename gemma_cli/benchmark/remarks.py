"""Remarks on the figures of a bench, and on reasons to mistrust them: a sentence or two each."""

from __future__ import annotations

from gemma_cli.benchmark.figures import Report, ratio

SHORT_REPLY = 32
"""Tokens; below that a reply's speed is mostly noise."""

RESTLESS = 1.25
"""Ratio of the fastest to the slowest run above which the machine was busy."""

FEWEST_RUNS = 5


def remarks(report: Report) -> list[str]:
    """Return the remarks in reading order: results first, then reasons for doubt."""
    return [*_findings(report), *_texts(report), *_doubts(report)]


def _findings(report: Report) -> list[str]:
    said = []
    best = report.overall.best
    if report.speedup is not None and best is not None:
        of_several = sum(bool(f.arm.drafting.draft_tokens) for f in report.arms) > 1
        which = f", with {best.arm.drafting.draft_tokens} drafts" if of_several else ""
        said.append(_verdict(report.speedup, which))
    if (peer := report.overall.peer_of(best)) is not None and (times := ratio(best, peer)) is not None:
        said.append(
            f"Speculative decoding is {times:.2f} times as fast as that of {report.peer} at the same draft length."
        )
    plain = report.overall.plain
    if (peer := report.overall.peer_of(plain)) is not None and (times := ratio(plain, peer)) is not None:
        said.append(f"Plain decoding is {times:.2f} times as fast as that of {report.peer}.")
    if report.bandwidth is not None:
        read = f"{report.bandwidth / 1e9:.1f} GB/s"
        said.append(f"The memory bandwidth was {read}, measured as the fastest of several reads of a large buffer.")
    return said


def _verdict(speedup: float, which: str) -> str:
    if speedup >= 1.05:
        return f"Speculative decoding is {speedup:.2f} times as fast as plain decoding here{which}."
    if speedup > 0.95:
        return f"Speculative decoding makes no difference here ({speedup:.2f} times{which})."
    return (
        f"Speculative decoding is slower here ({speedup:.2f} "
        f"times{which}): use --draft-tokens 0, or draft fewer tokens."
    )


def _texts(report: Report) -> list[str]:
    said = []
    if report.divergence:
        found = report.divergence
        said.append(
            f"The texts differ in run {found.run} of {found.arm}, at character {found.character} of the reply to "
            f"{found.prompt[:40]!r}: {found.expected!r} became {found.got!r}. This is a bug; please report it."
        )
    elif len(report.arms) > 1 and report.info.synthetic_acceptance is None:
        said.append("All texts are equal in every run, with and without drafts.")
    if report.peer_divergence:
        found = report.peer_divergence
        said.append(
            f"{found.arm} writes a different text from character {found.character} "
            f"of the reply to {found.prompt[:40]!r}. Other kernels round differently, "
            "and rounding can decide between two almost equally likely tokens."
        )
    return said


def _doubts(report: Report) -> list[str]:
    said = []
    arms = [*report.overall.own, *report.overall.peers]
    tokens = min((figures.tokens for figures in arms), default=0.0)
    if tokens < SHORT_REPLY:
        said.append(
            f"The speeds are not reliable, because the replies have only {tokens:.0f} tokens on average: use "
            "prompts with longer replies."
        )
    if any(f.tokens_per_second and f.tokens_per_second.max > RESTLESS * f.tokens_per_second.min for f in arms):
        said.append("The speeds of the runs differ by more than 25 %: close other programs, or give more --runs.")
    if report.runs < FEWEST_RUNS:
        said.append(
            f"The median of {report.runs} run{'s' if report.runs > 1 else ''} is not reliable: "
            f"use --runs {FEWEST_RUNS} or more."
        )
    return said
