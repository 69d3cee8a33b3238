"""Validation of a reply against its JSON schema: not every server applies one, and few say whether they do."""

from __future__ import annotations


def follows(text: str, schema: str) -> bool:
    """Return whether `text` is JSON that `schema` (checked by json_schema.checked) allows; white space is free."""
    from llguidance import LLMatcher, LLTokenizer

    grammar = LLMatcher.grammar_from_json_schema(schema, defaults={"whitespace_flexible": True})
    matcher = LLMatcher(LLTokenizer("byte"), grammar, log_level=0)
    return (
        matcher.try_consume_tokens(list(text.strip().encode())) == len(text.strip().encode()) and matcher.is_accepting()
    )
