"""Output of `--json` and `--stream-json`: one object per line, with fields that all commands share.

A field that does not apply is null, never 0: no drafter, no thoughts, a turn cut off before its figures came.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from gemma_cli import __version__
from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.errors import GemmaError
from gemma_cli.core.events import (
    Alignment,
    Delta,
    Done,
    Event,
    Progress,
    Round,
    Speculation,
    TokenChosen,
    ToolCalled,
    Turn,
    UnreadableCall,
    collect,
)
from gemma_cli.core.messages import Request, Sampling, ToolResponse
from gemma_cli.views.sanitize import safe_json

if TYPE_CHECKING:
    from gemma_cli.text.transcript import Segment


def write(fields: Mapping[str, Any], out: TextIO) -> None:
    """Format one object on one line; control characters are escaped."""
    out.write(safe_json(json.dumps(fields, ensure_ascii=False, allow_nan=False)) + "\n")
    out.flush()


def stream(events: Iterable[Event], out: TextIO) -> Turn:
    """Write each event as it passes, flushed, and fold them. Raises BrokenPipeError when `out` is closed.

    Done is not written: the figures of all replies to a question are told together, when the last has come.
    """

    def tell(event: Event) -> None:
        if fields := event_object(event):
            write(fields, out)

    return collect(events, tell)


def event_object(event: Event) -> dict[str, Any] | None:
    """One line of `--stream-json`; None for the figures, which come with the last line."""
    match event:
        case Delta(channel, text):
            return {"type": "delta", "channel": channel, "text": text}
        case Round(drafted, accepted, source):
            return {"type": "round", "drafted": drafted, "accepted": accepted, "source": source}
        case ToolCalled(call):
            return {"type": "tool_call", "name": call.name, "arguments": dict(call.arguments)}
        case UnreadableCall():
            return {"type": "unreadable_tool_call", **asdict(event)}
        case Progress() | TokenChosen() | Alignment() | Done():
            return None


def start_event(info: EngineInfo, seed: int) -> dict[str, Any]:
    """The first line of `--stream-json`: who answers, and the seed that gives the same text again."""
    return {
        "type": "start",
        "model": info.model,
        "assistant": info.assistant,
        "device": info.device,
        "dtype": info.dtype or None,
        "context": info.context,
        "seed": seed,
    }


def response_event(response: ToolResponse) -> dict[str, Any]:
    """Return the result of a tool call."""
    return {"type": "tool_response", "name": response.name, "response": response.response}


def error_event(error: GemmaError) -> dict[str, Any]:
    """The last line of a run that failed."""
    return {"type": "error", "message": str(error), "exit_code": error.exit_code}


def turn_object(turn: Turn, info: EngineInfo, draft_tokens: int, request: Request | None = None) -> dict[str, Any]:
    """The object of one turn. draft_tokens: as asked for in Drafting. request: what it answers."""
    return _object([turn], info, draft_tokens, request)


def exchange_object(
    turns: Sequence[Turn], responses: Sequence[Sequence[ToolResponse]], info: EngineInfo, request: Request
) -> dict[str, Any]:
    """The object of replies between which tools were called.

    responses: for each reply, those to its calls in order. request: what the first reply answers.
    """
    called = [
        {"name": call.name, "arguments": dict(call.arguments), "response": response.response}
        for turn, answered in zip(turns, responses, strict=False)
        for call, response in zip(turn.tool_calls, answered, strict=False)
    ]
    unreadable = [asdict(call) for turn in turns for call in turn.unreadable_calls]
    return _object(turns, info, request.drafting.draft_tokens, request) | {
        "text": "\n".join(turn.text for turn in turns if turn.text),
        "finish_reason": turns[-1].finish_reason,
        "tool_calls": called or None,
        "unreadable_tool_calls": unreadable or None,
    }


def transcript_object(
    turns: Sequence[Turn],
    info: EngineInfo,
    draft_tokens: int,
    *,
    file: str,
    language: str | None,
    duration_s: float | None,
    segments: Sequence[Segment],
) -> dict[str, Any]:
    """The object of one file, over the turns it took: text of the segments, counts and times summed."""
    fields = _object(turns, info, draft_tokens) | {
        "text": " ".join(text for segment in segments if (text := segment.text.strip())),
        "segments": [asdict(segment) for segment in segments],
    }
    return {"file": file, "language": language, "duration_s": _rounded(duration_s)} | fields


def speculation_object(speculation: Speculation, draft_tokens: int) -> dict[str, Any] | None:
    """The figures of drafting, as vLLM names them; None where nothing was to be drafted."""
    if not draft_tokens:
        return None
    copied = speculation.of("lookup")
    return {
        "draft_tokens": draft_tokens,
        "target_passes": speculation.target_passes,
        "drafted": speculation.drafted,
        "accepted": speculation.accepted,
        "acceptance_rate": _rounded(speculation.acceptance_rate),
        "mean_acceptance_length": _rounded(speculation.mean_acceptance_length),
        "acceptance_by_position": [round(share, 4) for share in speculation.acceptance_by_position or []] or None,
        "lookup": {"drafted": copied.drafted, "accepted": copied.accepted} if copied.drafted else None,
    }


def sampling_object(sampling: Sampling) -> dict[str, Any]:
    """Return the sampling settings, except the seed, which has its own field."""
    return {name: value for name, value in asdict(sampling).items() if name != "seed"}


def settings_object(request: Request, info: EngineInfo) -> dict[str, Any]:
    """Return the settings that, with the seed and the messages, reproduce the answer."""
    first = request.messages[0]
    return {
        "version": __version__,
        "assistant": info.assistant,
        "device": info.device,
        "dtype": info.dtype or None,
        "quantize": info.quantize,
        **sampling_object(request.sampling),
        "think": request.thinking,
        "thinking_budget": request.thinking_budget,
        "image_budget": request.image_budget,
        "draft_tokens": "auto" if request.drafting.adaptive else request.drafting.draft_tokens,
        "schema": request.schema,
        "system": first.text if first.role == "system" else None,
    }


def _object(
    turns: Sequence[Turn], info: EngineInfo, draft_tokens: int, request: Request | None = None
) -> dict[str, Any]:
    drafted = Speculation([passed for turn in turns for passed in turn.speculation.rounds])
    return {
        "model": info.model,
        "text": "".join(turn.text for turn in turns),
        "thinking": "".join(turn.thinking for turn in turns) or None,
        "finish_reason": next((turn.finish_reason for turn in turns if turn.finish_reason != "stop"), "stop"),
        "seed": request.sampling.seed if request else None,
        "settings": settings_object(request, info) if request else None,
        "usage": _usage(turns),
        "timings": _timings(turns, info),
        # A server drafts as it was started: what it made counts, not what was asked for.
        "speculation": speculation_object(drafted, draft_tokens if info.assistant else _longest(drafted)),
    }


def _longest(speculation: Speculation) -> int:
    return max((passed.drafted for passed in speculation.rounds), default=0)


def _usage(turns: Sequence[Turn]) -> dict[str, int | None]:
    told = [turn.usage for turn in turns if turn.usage.prompt_tokens]  # no prompt is empty: 0 means unknown
    return {
        "prompt_tokens": sum(usage.prompt_tokens for usage in told) or None,
        "completion_tokens": sum(usage.completion_tokens for usage in told) if told else None,
        "thinking_tokens": sum(usage.thinking_tokens for usage in told) or None,
    }


def _timings(turns: Sequence[Turn], info: EngineInfo) -> dict[str, float | None]:
    """ttft_s is the first turn's; tokens_per_second counts the tokens after each turn's first."""
    loads = [load for load in (info.load_s, *(turn.timings.load_s for turn in turns)) if load is not None]
    timed = [turn for turn in turns if turn.timings.decode_s and turn.usage.completion_tokens > 1]
    seconds = sum(turn.timings.decode_s or 0.0 for turn in timed)
    tokens = sum(turn.usage.completion_tokens - 1 for turn in timed)
    return {
        "load_s": _rounded(loads[0] if loads else None),
        "ttft_s": _rounded(turns[0].timings.ttft_s if turns else None),
        "decode_s": _rounded(seconds or None),
        "tokens_per_second": _rounded(tokens / seconds if seconds else None),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
