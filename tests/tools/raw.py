"""An engine that says given texts in Gemma 4's own notation, read by the parser that reads every model's."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from gemma_cli.core.channels import ChannelParser
from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.events import Done, Event, ToolCalled, Usage
from gemma_cli.core.messages import Request
from gemma_cli.engines.scripted import INFO


@dataclass
class RawEngine:
    """Says `replies` in turn, the last one for ever."""

    replies: list[str]
    info: EngineInfo = INFO
    requests: list[Request] = field(default_factory=list)

    def stream(self, request: Request) -> Generator[Event, None, None]:
        text = self.replies[min(len(self.requests), len(self.replies) - 1)]
        self.requests.append(request)
        parser = ChannelParser(tools=request.tools)
        events = [*parser.feed(text), *parser.flush()]
        yield from events
        called = any(isinstance(event, ToolCalled) for event in events)
        yield Done("tool_calls" if called else "stop", Usage(prompt_tokens=10, completion_tokens=5))
