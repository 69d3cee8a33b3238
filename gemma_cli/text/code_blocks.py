"""The code blocks of a markdown text."""

from __future__ import annotations


def code_blocks(markdown: str) -> list[str]:
    """Return the content of each code block, fenced or indented, in order and without its last line break."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").parse(markdown)
    return [token.content.removesuffix("\n") for token in tokens if token.type in ("fence", "code_block")]
