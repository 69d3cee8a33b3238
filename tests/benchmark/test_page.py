"""The page of a bench: one file that loads nothing, holds what was measured, and lets no text become markup."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser

import pytest

from gemma_cli.benchmark.objects import as_object
from gemma_cli.benchmark.page import machine_facts, page
from gemma_cli.benchmark.plots import acceptance, by_category
from tests.benchmark.test_peers import arm, by_context, compared, nothing, reply

pytest.importorskip("matplotlib", reason="pip install 'gemma-cli[plot]'")

COMMAND = "gemma bench --prompt '<script>alert(1)</script> & \"more\"'"


class Tags(HTMLParser):
    """All start tags with their attributes, and the text between."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.mark.parametrize("context", [True, False])
def test_a_page_is_whole_and_loads_nothing(context: bool) -> None:
    report = by_context() if context else compared(reply(1, arm(0), 2.0), reply(1, arm(4), 1.0))
    figures = as_object(report, nothing)
    text = page(report, figures, COMMAND, machine_facts(report))
    tags = Tags(text).tags
    names = [name for name, _ in tags]
    assert names.count("svg") == 2  # a curve, or bars by category; and acceptance
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(names)
    for _, attributes in tags:
        for name in ("src", "href", "xlink:href", "style"):
            value = attributes.get(name) or "#"
            assert name == "style" or value.startswith("#")
            assert "url(http" not in value
    assert unescape(re.search(r"<pre>(.*?)</pre>", text, re.DOTALL)[1]) == COMMAND  # type: ignore[index]
    assert json.loads(unescape(re.findall(r"<pre>(.*?)</pre>", text, re.DOTALL)[-1])) == figures
    assert "tokens/s</text>" in text  # labels are text that can be searched and read aloud
    assert "All texts are equal" in text


def test_what_is_drawn_is_what_was_measured() -> None:
    report = compared(reply(1, arm(0), 2.0), reply(1, arm(4), 1.0))
    accepted, speeds = acceptance(report), by_category(report)
    assert accepted
    (arm_points,) = accepted.lines.values()
    measured = report.arms[1].speculation.acceptance_by_position
    assert [point.speed.median for point in arm_points] == measured
    assert {name: [point.speed.median for point in points] for name, points in speeds.lines.items()} == {
        figures.arm.name: [figures.tokens_per_second.median] for figures in report.arms if figures.tokens_per_second
    }


def test_plain_decoding_alone_has_no_acceptance() -> None:
    report = compared(reply(1, arm(0), 2.0))
    if not any(figures.speculation.drafted for figures in report.arms):
        assert acceptance(report) is None
    assert page(report, as_object(report, nothing), "gemma bench", {"model": "x"}).count("<svg") >= 1
