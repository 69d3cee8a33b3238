"""Whether a server held a reply to its JSON schema: not every server does, and few say so."""

from __future__ import annotations


def follows(text: str, schema: str) -> bool:
    """Whether `text` is JSON that `schema`, as json_schema.checked gives it, allows; white space is free."""
    from llguidance import LLMatcher, LLTokenizer

    grammar = LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": True})
    matcher = LLMatcher(LLTokenizer("byte"), grammar, log_level=0)
    return (
        matcher.try_consume_tokens(list(text.strip().encode())) == len(text.strip().encode()) and matcher.is_accepting()
    )
