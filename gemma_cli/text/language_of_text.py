"""The language of a text, by py3langid's model of 97 languages."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from gemma_cli.text.languages import LANGUAGES, language

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier  # type: ignore[import-untyped]

SURE = 0.9
"""Probability, among the languages known here, below which a text is too short or too odd to tell."""

LIKELY = 0.5
"""The same for one segment of a transcript, which is often a single sentence: of pocket's four languages 88 to 95 % of
the sentences reach it, and at most 2 % with another language (docs/transcribe.md)."""

_ENOUGH = 10_000  # characters


def recognised(text: str, least: float = SURE) -> str | None:
    """Return the English name of the language a text is in; None where its words do not tell, as in "347".

    least: probability that it must have.
    """
    code, probability = _identifier().classify(text[:_ENOUGH])
    return language(str(code)).name if probability >= least else None


@cache
def _identifier() -> LanguageIdentifier:
    """Load the model once: it takes a second."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    known = {entry.code.replace("fil", "tl") for entry in LANGUAGES}
    identifier.set_languages(sorted(known & set(identifier.labels)))
    return identifier
