"""Replies as Anthropic's clients read them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gemma_cli.serve.answering import sse
from gemma_cli.serve.api.blocks import Block, BlockForm
from gemma_cli.serve.api.chat_reply import Reply
from gemma_cli.serve.api.errors import ApiError

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}

STOPPED = "stop_sequence"


class MessageForm(BlockForm):
    """A reply as Anthropic's clients read it."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self._reply = reply
        self._id = f"msg_{reply.id.rpartition('-')[2]}"

    def _finish(self) -> Iterator[bytes]:
        reason, text = self._reason()
        yield _event(
            "message_delta",
            delta={"stop_reason": reason, "stop_sequence": text},
            usage=self._usage(),
            gemma=dict(self._reply.gemma()),
        )
        yield _event("message_stop")

    def whole(self, deltas: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
        """See responding.Form."""
        for delta in deltas[0]:
            list(self._blocks.feed(delta))
        list(self._blocks.end())
        reason, text = self._reason()
        return self._message(reason, text, [_content(block) for block in self._blocks.all]) | {
            "gemma": dict(self._reply.gemma())
        }

    @staticmethod
    def error(error: ApiError) -> bytes:
        """See responding.Form."""
        return _event("error", error=error.body()["error"])

    def _start(self) -> Iterator[bytes]:
        yield _event("message_start", message=self._message(None, None, []))

    def _message(self, reason: str | None, text: str | None, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._reply.receipt.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": text,
            "usage": self._usage(),
        }

    def _usage(self) -> dict[str, int]:
        usage = self._reply.usage
        return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}

    def _reason(self) -> tuple[str | None, str | None]:
        if self._reply.stopped_by is not None:
            return STOPPED, self._reply.stopped_by
        return REASONS.get(self._reply.finish_reason or "stop", "end_turn"), None

    def _block(self, kind: str, block: Block) -> Iterator[bytes]:
        if kind == "begun":
            empty = _content(Block(block.index, block.kind, name=block.name, id=block.id))
            yield _event("content_block_start", index=block.index, content_block=empty)
        elif kind == "more":
            kinds = {
                "text": {"type": "text_delta", "text": block.new},
                "thinking": {"type": "thinking_delta", "thinking": block.new},
                "call": {"type": "input_json_delta", "partial_json": block.new},
            }
            yield _event("content_block_delta", index=block.index, delta=kinds[block.kind])
        else:
            yield _event("content_block_stop", index=block.index)


def _content(block: Block) -> dict[str, Any]:
    match block.kind:
        case "text":
            return {"type": "text", "text": block.text}
        case "thinking":
            return {"type": "thinking", "thinking": block.text, "signature": ""}
    return {"type": "tool_use", "id": block.id, "name": block.name, "input": block.arguments}


def _event(kind: str, **fields: Any) -> bytes:
    return sse({"type": kind, **fields}, kind)
