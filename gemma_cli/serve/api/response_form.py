"""Replies as clients of OpenAI's Responses interface read them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from gemma_cli.serve.answering import sse
from gemma_cli.serve.api.blocks import Block, BlockForm
from gemma_cli.serve.api.chat_reply import Reply
from gemma_cli.serve.api.errors import ApiError
from gemma_cli.serve.api.responses_body import NamedFunction, ResponsesBody, TextOptions


class ResponseForm(BlockForm):
    """A reply as clients of the Responses interface read it."""

    def __init__(self, reply: Reply, body: ResponsesBody) -> None:
        super().__init__()
        self._reply, self._body = reply, body
        self._token = secrets.token_hex(12)
        self._number = 0

    def _finish(self) -> Iterator[bytes]:
        whole = self._object(self._status, self._items())
        yield self._event(f"response.{self._status}", response=whole)

    def whole(self, deltas: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
        """See responding.Form."""
        for delta in deltas[0]:
            list(self._blocks.feed(delta))
        return self._object(self._status, self._items())

    def error(self, error: ApiError) -> bytes:
        """See responding.Form."""
        return self._event("error", code=error.code or error.kind, message=error.message, param=error.param)

    def _items(self) -> list[dict[str, Any]]:
        """The output; only its last item can have been cut off."""
        *whole, last = self._blocks.all or [Block(0, "text")]
        return [*(self._item(block, "completed") for block in whole), self._item(last, self._status)]

    @property
    def _status(self) -> str:
        return "incomplete" if self._reply.finish_reason == "length" else "completed"

    def _start(self) -> Iterator[bytes]:
        for kind in ("created", "in_progress"):
            yield self._event(f"response.{kind}", response=self._object("in_progress", []))

    def _object(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        body, reply = self._body, self._reply
        sampling, usage = reply.request.sampling, reply.usage
        ended = status != "in_progress"
        counts = {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        }
        tools = [tool.model_dump() for tool in body.tools or ()]
        choice = body.tool_choice
        return {
            "id": f"resp_{self._token}",
            "object": "response",
            "created_at": reply.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "model": reply.receipt.model,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": body.reasoning.effort if body.reasoning else None, "summary": None},
            "store": False,
            "temperature": sampling.temperature,
            "text": {"format": _format_again(body.text)},
            "tool_choice": choice.model_dump() if isinstance(choice, NamedFunction) else choice or "auto",
            "tools": tools,
            "top_p": sampling.top_p,
            "truncation": "disabled",
            "usage": counts if ended else None,
            "metadata": body.metadata or {},
        } | ({"gemma": dict(reply.gemma())} if ended else {})

    def _item(self, block: Block, status: str) -> dict[str, Any]:
        """One item of the output. status: "in_progress" for one that is still empty."""
        name = f"{self._token}{block.index}"
        empty = status == "in_progress"
        match block.kind:
            case "text":
                content = [] if empty else [_text(block.text)]
                return {
                    "id": f"msg_{name}",
                    "type": "message",
                    "status": status,
                    "role": "assistant",
                    "content": content,
                }
            case "thinking":
                thought = [] if empty else [{"type": "reasoning_text", "text": block.text}]
                return {"id": f"rs_{name}", "type": "reasoning", "summary": [], "content": thought, "status": status}
        return {
            "id": f"fc_{name}",
            "type": "function_call",
            "status": status,
            "call_id": block.id,
            "name": block.name,
            "arguments": "" if empty else block.text,
        }

    def _block(self, kind: str, block: Block) -> Iterator[bytes]:
        """See BlockForm._block."""
        item = self._item(block, "in_progress" if kind == "begun" else "completed")
        place = {"item_id": item["id"], "output_index": block.index}
        inside = place | {"content_index": 0}
        names = {"text": "output_text", "thinking": "reasoning_text", "call": "function_call_arguments"}
        name = f"response.{names[block.kind]}"
        within = place if block.kind == "call" else inside
        more: dict[str, Any] = {"logprobs": []} if block.kind == "text" else {}
        if kind == "begun":
            yield self._event("response.output_item.added", output_index=block.index, item=item)
            if block.kind == "text":
                yield self._event("response.content_part.added", **inside, part=_text(""))
        elif kind == "more":
            yield self._event(f"{name}.delta", **within, delta=block.new, **more)
        else:
            done = {"arguments": block.text, "name": block.name} if block.kind == "call" else {"text": block.text}
            yield self._event(f"{name}.done", **within, **done, **more)
            if block.kind == "text":
                yield self._event("response.content_part.done", **inside, part=_text(block.text))
            yield self._event("response.output_item.done", output_index=block.index, item=item)

    def _event(self, kind: str, **fields: Any) -> bytes:
        number, self._number = self._number, self._number + 1
        return sse({"type": kind, "sequence_number": number, **fields}, kind)


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _format_again(text: TextOptions | None) -> dict[str, Any]:
    form = text.format if text else None
    return form.model_dump(by_alias=True, exclude_none=True) if form else {"type": "text"}
