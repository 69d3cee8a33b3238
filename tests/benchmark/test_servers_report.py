"""The tables of servers under load."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from gemma_cli.benchmark.servers import Level, ServerReport
from gemma_cli.benchmark.servers_report import renderables
from gemma_cli.core.engine import EngineInfo
from gemma_cli.core.events import Round, Speculation, Timings, Turn, Usage


def test_a_slow_server_fits_in_80_columns() -> None:
    rounds = Speculation([Round(4, 4)])
    turn = Turn("text", usage=Usage(10, 101), timings=Timings(0.0, 12.3456, 20.0), speculation=rounds)
    info = EngineInfo("pocket", None, "llama-server", "", 2048, frozenset())
    report = ServerReport(info, [Level(16, [turn] * 160, [12345.6])])
    out = StringIO()
    Console(file=out, width=80).print(*renderables([report]), sep="\n")
    lines = [line.split() for line in out.getvalue().splitlines()]
    assert "…" not in out.getvalue()
    assert ["16", "160", "12345.6", "12345.6", "200.0", "200.0", "12345.6", "100%", "5.00"] in lines
