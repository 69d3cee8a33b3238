"""A piece of markdown as terminal lines. Nothing of the model's text is hidden, and none of it can drive the terminal.

HTML, reference definitions and images stay readable text; only http and https links are links, and their address is
always spelled out; nothing is written as an OSC 8 hyperlink. Text is filtered again after parsing, because markdown's
character references (`&#x202E;`) can spell what the filter has removed.
"""

from __future__ import annotations

from collections.abc import Iterable

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, HorizontalRule, ListItem, Markdown, TableElement
from rich.rule import Rule
from rich.segment import Segment
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from gemma_cli.views.markdown.blocks import Piece
from gemma_cli.views.sanitize import safe

Line = list[Segment]

CODE_THEME = "ansi_dark"  # the terminal's own sixteen colours: readable on light and dark backgrounds


def render(piece: Piece, console: Console, width: int) -> list[Line]:
    """The lines of `piece`, at most `width` cells each; code is not wrapped, so that it can be copied."""
    match piece.kind:
        case "fence":
            lines = [[Segment(piece.source, console.get_style("dim"))]]
        case "code":
            lines = _code_lines(piece, console)
        case "text":
            options = console.options.update(width=width, height=None)
            lines = console.render_lines(_Markdown(piece.source), options, pad=False)
    return [_tidy(line) for line in _trimmed(lines)] if piece.kind == "text" else [_tidy(line) for line in lines]


def plain_lines(text: str, console: Console, style: str = "none") -> list[Line]:
    """Return text literally, one line each, unwrapped."""
    look = console.get_style(style)
    return [_tidy([Segment(line, look)]) for line in text.split("\n")]


def wrapped_lines(text: str, console: Console, width: int, style: str = "none") -> list[Line]:
    """Return text literally in lines of at most `width` cells, broken between words."""
    lines = Text(text, style).wrap(console, max(2, width), overflow="fold")
    return [_tidy([segment for segment in line.render(console) if segment.text != "\n"]) for line in lines]


def _code_lines(piece: Piece, console: Console) -> list[Line]:
    syntax = Syntax("", piece.language or "text", theme=CODE_THEME, background_color="default", tab_size=4)
    code = f"{piece.context}\n{piece.source}" if piece.context else piece.source
    wanted = piece.source.count("\n") + 1
    highlighted = syntax.highlight(code).split("\n", allow_blank=True)
    lines = list(highlighted)[: code.count("\n") + 1][-wanted:]
    return [[segment for segment in line.render(console) if segment.text != "\n"] for line in lines]


def _trimmed(lines: list[Line]) -> list[Line]:
    """Without blank lines before and after: the gaps between pieces are the writer's, not the renderer's."""
    blank = ["".join(segment.text for segment in line).isspace() or not any(s.text for s in line) for line in lines]
    filled = [index for index, is_blank in enumerate(blank) if not is_blank]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _tidy(line: Line) -> Line:
    """Filtered, and without the blanks that pad it to the full width: they would wrap when the terminal narrows."""
    tidy = [Segment(safe(s.text).replace("\n", " "), s.style) for s in line if s.text and not s.control]
    while tidy and not tidy[-1].text.rstrip(" "):
        tidy.pop()
    if tidy:
        tidy[-1] = Segment(tidy[-1].text.rstrip(" "), tidy[-1].style)
    return tidy


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("reference")
    parser.validateLink = lambda url: url.lower().startswith(("http://", "https://"))  # type: ignore[method-assign]
    return parser


_PARSER = _parser()


class _Heading(Heading):
    """Left-aligned, without a box: a terminal is no page."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.text


class _Code(CodeBlock):
    """Code inside a list or a quotation."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip()
        yield Syntax(code, self.lexer_name, theme=CODE_THEME, word_wrap=True, background_color="default")


class _Rule(HorizontalRule):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Rule(style="markdown.hr", characters="-" if options.ascii_only else "─")


class _Item(ListItem):
    """Numbers with their full stop, as they were written."""

    def render_number(self, console: Console, options: ConsoleOptions, number: int, last_number: int) -> RenderResult:
        numeral = f" {number}. "
        lines = console.render_lines(self.elements, options.update(width=max(1, options.max_width - len(numeral))))
        style = console.get_style("markdown.item.number", default="none")
        for row, line in enumerate(lines):
            yield Segment(" " * len(numeral) if row else numeral, style)
            yield from line
            yield Segment("\n")


class _Table(TableElement):
    """Columns fold rather than being cut off when the terminal is narrow."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=box.ASCII2 if options.ascii_only else box.SIMPLE, pad_edge=False, style="dim")
        if self.header and self.header.row:
            for column in self.header.row.cells:
                heading = column.content.copy()
                heading.stylize("bold")
                table.add_column(heading, overflow="fold", justify=column.justify)
        for row in self.body.rows if self.body else ():
            table.add_row(*(cell.content for cell in row.cells))
        yield table


class _Markdown(Markdown):
    """Rich's renderer over our parser: links and images are turned into text before it sees them."""

    elements = Markdown.elements | {
        "heading_open": _Heading,
        "fence": _Code,
        "code_block": _Code,
        "hr": _Rule,
        "list_item_open": _Item,
        "table_open": _Table,
    }
    inlines = Markdown.inlines | {"link", "link_url"}

    def __init__(self, source: str) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = _PARSER.parse(source)
        for token in self.parsed:
            if token.children:
                token.children = list(_spelled_out(token.children))


def _spelled_out(tokens: Iterable[Token]) -> Iterable[Token]:
    """Links as `text (address)`, images as `alt (address)`; the address once if it is the text."""
    href, said = "", ""
    for token in tokens:
        if token.type == "link_open":
            href, said = str(token.attrs.get("href", "")), ""
            yield Token("link_text", "link", 1)
        elif token.type == "link_close":
            yield Token("link_text", "link", -1)
            if said != href:
                yield from _address(href)
        elif token.type == "image":
            yield Token("text", "", 0, content=token.content or "image")
            yield from _address(str(token.attrs.get("src", "")))
        else:
            said += token.content
            yield token


def _address(href: str) -> Iterable[Token]:
    yield Token("text", "", 0, content=" (")
    yield Token("link_url", "link_url", 1)
    yield Token("text", "", 0, content=href)
    yield Token("link_url", "link_url", -1)
    yield Token("text", "", 0, content=")")
