"""A terminal to look at: what a console writes, as rows a reader sees."""

import io

import pyte
from rich.console import Console


class Screen(io.StringIO):
    """A terminal of pyte's with a scrollback; `console` writes to it. Cuts lines when it narrows, as xterm does."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        super().__init__()
        self.screen = pyte.HistoryScreen(columns, rows, history=100_000, ratio=0.5)
        self.stream = pyte.Stream(self.screen)
        self.written: list[str] = []
        self.console = Console(
            file=self,
            force_terminal=True,
            width=columns,
            height=rows,
            color_system="standard",
            markup=False,
            emoji=False,
            highlight=False,
            legacy_windows=False,
        )

    @property
    def encoding(self) -> str:
        return "utf-8"

    def write(self, text: str) -> int:
        self.written.append(text)
        self.stream.feed(text.replace("\n", "\r\n"))
        return len(text)

    def resize(self, columns: int) -> None:
        self.screen.resize(columns=columns)
        self.console.width = columns

    @property
    def lines(self) -> list[str]:
        """Scrollback and screen, without the blank rows at the end."""
        width = 1_000
        old = ["".join(row[x].data for x in range(width) if x in row).rstrip() for row in self.screen.history.top]
        rows = old + [row.rstrip() for row in self.screen.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def raw(self) -> str:
        return "".join(self.written)
