"""Options for word times, confidence and the limits of subtitles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from gemma_cli.common.options import OUTPUT
from gemma_cli.core.errors import UsageError
from gemma_cli.text.subtitles import Layout
from gemma_cli.text.transcript import format_named

WITH_WORDS = ("vtt", "ass", "lrc", "json")
"""Formats that can write the time of every word."""

STYLES = {
    "plain": Layout(longest=7.0),
    "netflix": Layout(width=42, lines=2, speed=20.0, shortest=5 / 6, longest=7.0),
    "bbc": Layout(width=37, lines=2, speed=17.0, shortest=1.0, longest=7.0),
}
"""The limits of each `--subtitle-style`."""


@dataclass(frozen=True)
class WordOptions:
    """Options for the times and probabilities of words."""

    word_times: Annotated[
        bool,
        typer.Option(
            "--word-times",
            help="Write the time of every word; possible in vtt, ass, lrc and json.",
            rich_help_panel=OUTPUT,
        ),
    ] = False
    words_per_cue: Annotated[
        int | None,
        typer.Option(
            "--words-per-cue", min=1, metavar="N", help="Maximum number of words per cue.", rich_help_panel=OUTPUT
        ),
    ] = None
    style: Annotated[
        str | None,
        typer.Option(
            "--subtitle-style",
            metavar="|".join(STYLES),
            help="Choose a set of limits for the length and speed of subtitles. Default: plain.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    speed: Annotated[
        float | None,
        typer.Option(
            "--max-chars-per-second",
            min=1.0,
            metavar="N",
            help="Maximum reading speed of a cue, in characters per second.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    shortest: Annotated[
        float | None,
        typer.Option(
            "--min-cue", min=0.0, metavar="SECONDS", help="Shortest time that a cue is shown.", rich_help_panel=OUTPUT
        ),
    ] = None
    longest: Annotated[
        float | None,
        typer.Option(
            "--max-cue", min=0.5, metavar="SECONDS", help="Longest time that a cue is shown.", rich_help_panel=OUTPUT
        ),
    ] = None
    confidence: Annotated[
        bool,
        typer.Option(
            "--show-confidence",
            help="On a terminal, colour the words that the model is unsure of.",
            rich_help_panel=OUTPUT,
        ),
    ] = False
    review: Annotated[
        float | None,
        typer.Option(
            "--review",
            min=0.0,
            max=1.0,
            metavar="P",
            help="After the transcript, list the times of words whose probability is below this number.",
            rich_help_panel=OUTPUT,
        ),
    ] = None

    def wanted(self, formats: tuple[str, ...], as_json: bool) -> bool:
        """Return whether the times of words are needed. Raises UsageError for options that do not fit together."""
        if self.style is not None and self.style not in STYLES:
            raise UsageError(f"--subtitle-style {self.style}: unknown style; choose one of {', '.join(STYLES)}")
        subtitles = any(format_named(form).subtitles for form in formats)
        if self.words_per_cue and not subtitles:
            raise UsageError("--words-per-cue applies only to subtitles: give --format srt, vtt, ass or lrc")
        if self.word_times and not as_json and not set(formats) & set(WITH_WORDS):
            raise UsageError(
                "--word-times works only with some formats: give "
                f"--json, or --format {', '.join(WITH_WORDS[:-1])} or json"
            )
        return self.word_times or subtitles or self.confidence or self.review is not None

    def layout(self, lines: Layout) -> Layout:
        """Return the limits of a cue: those of the style, but for what is given. lines: width and lines as given."""
        style = STYLES[self.style or "plain"]
        return Layout(
            width=lines.width or style.width,
            lines=lines.lines or style.lines,
            speed=self.speed or style.speed,
            shortest=style.shortest if self.shortest is None else self.shortest,
            longest=self.longest or style.longest,
            words=self.words_per_cue,
        )


NO_WORDS = WordOptions()
