"""Thumbnails: half blocks on any terminal with colours, and nothing at all anywhere else."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from gemma_cli.views import picture

HALVES = np.zeros((40, 80, 3), np.uint8)
HALVES[:, :40], HALVES[:, 40:] = (255, 0, 0), (0, 0, 255)


def drawn(pixels=HALVES, width=80, **options):
    out = io.StringIO()
    settings = {"force_terminal": True, "color_system": "truecolor", "width": width} | options
    return picture.show(pixels, Console(file=out, **settings)), out.getvalue()


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.setattr(picture, "_graphics", lambda: None)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def test_half_blocks_have_the_colours_of_the_picture():
    shown, out = drawn()
    lines = out.splitlines()
    assert shown
    assert len(lines) == 10
    assert all(line.count("▀") == 40 for line in lines)
    assert "38;2;255;0;0;48;2;255;0;0" in lines[0]
    assert "38;2;0;0;255;48;2;0;0;255" in lines[0]


@pytest.mark.parametrize("size", [(40, 80), (80, 40), (1000, 3), (3, 1000), (1, 1), (500, 500)])
@pytest.mark.parametrize("width", [2, 20, 200])
def test_it_fits_whatever_its_shape(size, width):
    shown, out = drawn(np.zeros((*size, 3), np.uint8), width)
    lines = out.splitlines()
    assert shown
    assert 1 <= len(lines) <= picture.ROWS
    assert all(1 <= line.count("▀") <= min(picture.COLUMNS, width) for line in lines)


@pytest.mark.parametrize("options", [{"force_terminal": False}, {"color_system": None}])
def test_nothing_where_it_cannot_be_seen(options):
    assert drawn(**options) == (False, "")


def test_nothing_on_a_dumb_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    assert drawn() == (False, "")


def test_terminals_without_graphics_are_not_asked(monkeypatch):
    monkeypatch.undo()
    for name in ("TERM_PROGRAM", "LC_TERMINAL", "TMUX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert picture._graphics() is None
    monkeypatch.setenv("TERM", "xterm-kitty")
    monkeypatch.setenv("TMUX", "/tmp/tmux,1,0")
    assert picture._graphics() is None
