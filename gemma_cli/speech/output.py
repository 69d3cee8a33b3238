"""Output of transcripts: one to stdout, many to files named after their inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gemma_cli.common.options import OUTPUT
from gemma_cli.common.output_files import FileOptions, OutputNaming
from gemma_cli.core.errors import UsageError
from gemma_cli.media.input_files import InputFile
from gemma_cli.text.subtitles import Layout
from gemma_cli.text.transcript import FORMATS, format_named


@dataclass(frozen=True)
class TranscriptOptions(FileOptions):
    """Which forms of a transcript to write, and where."""

    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="|".join(FORMATS),
            help="Transcript format. Repeat the option to write several with -o. Default: txt.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    width: Annotated[
        int | None,
        typer.Option(
            "--max-line-width", min=1, help="Most characters in a line of srt and vtt.", rich_help_panel=OUTPUT
        ),
    ] = None
    lines: Annotated[
        int | None,
        typer.Option(
            "--max-line-count", min=1, help="Most lines in a cue; longer cues are split.", rich_help_panel=OUTPUT
        ),
    ] = None

    def checked(self, files: int, as_json: bool) -> tuple[str, ...]:
        """The formats. Raises UsageError for options that do not fit together."""
        formats = tuple(dict.fromkeys(self.formats or ["txt"]))
        for form in formats:
            format_named(form)
        if self.lines and not self.width:
            raise UsageError("--max-line-count needs --max-line-width: give both")
        if as_json and (self.to_files or self.formats):
            raise UsageError("--json has its own format and prints to stdout; for files give --format json -o DIR")
        if not self.to_files:
            _check_stdout(formats, files)
        self.check_files()
        return formats

    @property
    def layout(self) -> Layout:
        """The lines of a cue."""
        return Layout(self.width, self.lines)

    def plan(self, files: Sequence[InputFile], formats: Sequence[str]) -> dict[InputFile, dict[str, Path]]:
        """Plan the files of recordings that all get the same formats."""
        return self.plan_each(dict.fromkeys(files, formats), OutputNaming())


def _check_stdout(formats: Sequence[str], files: int) -> None:
    if len(formats) > 1:
        raise UsageError(f"--format {' and '.join(formats)}: stdout takes one format; -o DIR writes each to a file")
    if files > 1 and format_named(formats[0]).one_recording:
        raise UsageError(
            f"--format {formats[0]} can hold only one recording: "
            "write files with -o DIR, or give --json for all on stdout"
        )
