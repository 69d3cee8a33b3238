"""A reply's tokens and the sound each of them attends to, as an event."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gemma_cli.core.events import Alignment, Calibration
from gemma_cli.core.messages import Audio, Request
from gemma_cli.engines.local.model.query_log import QueryLog, alignment_layer
from gemma_cli.engines.local.model.score_log import ScoreLog
from gemma_cli.engines.local.model.target import Target
from gemma_cli.engines.local.text.detokenize import Detokenizer
from gemma_cli.engines.local.text.prompt import Prompt, Span
from gemma_cli.engines.local.text.tokenizer import Tokenizer


def query_log(target: Target, request: Request, prompt: Prompt) -> QueryLog | None:
    """Return what records the reply to `request`; None where nothing can be aligned or nobody asked for it."""
    if not request.word_times or recording(prompt) is None:
        return None
    return QueryLog(alignment_layer(target.arch.layers), len(prompt.ids) - 1)


def recording(prompt: Prompt) -> Span | None:
    """Return the place of the only sound in a prompt; None where there is none, or several."""
    sounds = [span for span in prompt.media if isinstance(span.medium, Audio)]
    return sounds[0] if len(sounds) == 1 else None


def alignment(
    log: QueryLog | None,
    scores: ScoreLog | None,
    prompt: Prompt,
    tokens: Sequence[int],
    stop: Collection[int],
    tokenizer: Tokenizer,
    calibration: Calibration | None,
) -> Alignment | None:
    """Return the alignment of a finished reply that was recorded; None where there is nothing to align."""
    span = recording(prompt)
    ids = [token for token in tokens if token not in stop]
    if log is None or scores is None or span is None or not ids:
        return None
    text = Detokenizer(tokenizer)
    weights = log.attention(span.start, span.start + span.length, len(ids))
    return Alignment(
        pieces=tuple(text.feed(token) for token in ids),
        logprobs=tuple(scores.chosen.get(log.first + index, 0.0) for index in range(len(ids))),
        attention=weights.numpy(),
        calibration=calibration,
    )
