"""Scores of replies against references, by the libraries that papers use: jiwer, and sacrebleu."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from gemma_cli.benchmark.quality.items import TaskName
from gemma_cli.core.errors import UsageError

_WITHOUT_SPACES = {"zh": "zh", "ja": "char", "th": "char", "lo": "char", "km": "char", "my": "char"}
"""sacrebleu's tokenizer for languages that put no spaces between words."""


@dataclass(frozen=True)
class Scores:
    """Of all replies of one arm. Shares, except bleu and chrf, which go to 100; None where the task has no such score.

    exact: replies equal to their reference. bare: the same without case, punctuation and repeated blanks. signature:
    of sacrebleu, which papers quote.
    """

    items: int
    exact: float
    bare: float
    word_error_rate: float | None = None
    character_error_rate: float | None = None
    bleu: float | None = None
    chrf: float | None = None
    signature: str | None = None


def check_installed() -> None:
    """Raises UsageError that names the extra, before anything is measured."""
    missing = [name for name in ("jiwer", "sacrebleu") if find_spec(name) is None]
    if missing:
        raise UsageError(f"--task needs {' and '.join(missing)}, not installed here: pip install 'gemma-cli[quality]'")


def bare(text: str) -> str:
    """Return a text without case and punctuation, with single spaces."""
    return " ".join(re.sub(r"[^\w\s]|_", " ", text.casefold()).split())


def score(task: TaskName, references: Sequence[str], replies: Sequence[str], target: str | None = None) -> Scores:
    """Score replies. target: the code of the language they are in, for translations."""
    exact, bared = (
        sum(form(reply) == form(reference) for reply, reference in zip(replies, references, strict=True))
        / len(references)
        for form in (str.strip, bare)
    )
    match task:
        case "transcribe":
            words, characters = error_rates(references, replies)
            return Scores(len(references), exact, bared, words, characters)
        case "translate":
            bleu, chrf, signature = translation_scores(references, replies, target)
            return Scores(len(references), exact, bared, bleu=bleu, chrf=chrf, signature=signature)
        case "chat":
            return Scores(len(references), exact, bared)


def error_rates(references: Sequence[str], replies: Sequence[str]) -> tuple[float, float]:
    """Return the word and character error rates over all items together, of bare texts."""
    import jiwer

    right, found = [bare(text) for text in references], [bare(text) for text in replies]
    return float(jiwer.wer(right, found)), float(jiwer.cer(right, found))


def translation_scores(
    references: Sequence[str], replies: Sequence[str], target: str | None
) -> tuple[float, float, str]:
    """Return BLEU, chrF and BLEU's signature, of texts as they stand."""
    from sacrebleu.metrics import BLEU, CHRF

    bleu = BLEU(tokenize=_WITHOUT_SPACES.get((target or "").partition("-")[0], "13a"))
    found = bleu.corpus_score(list(replies), [list(references)])
    chrf = CHRF().corpus_score(list(replies), [list(references)])
    return float(found.score), float(chrf.score), str(bleu.get_signature())
