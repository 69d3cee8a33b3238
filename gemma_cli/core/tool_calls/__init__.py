"""Tool calls as Gemma 4 writes them: `call:NAME{key:<|"|>text<|"|>,n:3}` -> ToolCall.

syntax reads one text in one way, schema knows what a tool declares, and repair tries what the model may have meant.
"""

from gemma_cli.core.tool_calls.literals import QUOTE, Unreadable
from gemma_cli.core.tool_calls.repair import called_name, parse_call

__all__ = ["QUOTE", "Unreadable", "called_name", "parse_call"]
