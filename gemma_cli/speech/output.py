"""Output of transcripts: one to stdout, many to files named after their inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gemma_cli.common.options import OUTPUT
from gemma_cli.common.output_files import FileOptions, OutputNaming, format_option
from gemma_cli.core.errors import UsageError
from gemma_cli.core.records import dataclass
from gemma_cli.media.input_files import InputFile
from gemma_cli.text.subtitles import Layout
from gemma_cli.text.transcript import FORMATS


@dataclass(frozen=True)
class TranscriptOptions(FileOptions):
    """Which forms of a transcript to write, and where."""

    known = FORMATS

    formats: Annotated[list[str] | None, format_option(FORMATS, "Transcript format.")] = None
    width: Annotated[
        int | None,
        typer.Option(
            "--max-line-width",
            min=1,
            help="Maximum number of characters per line in srt and vtt.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    lines: Annotated[
        int | None,
        typer.Option(
            "--max-line-count",
            min=1,
            help="Maximum number of lines per cue; longer cues are split.",
            rich_help_panel=OUTPUT,
        ),
    ] = None

    def checked(self, inputs: int, as_json: bool) -> tuple[str, ...]:
        """Return the formats. Raises UsageError for options that do not fit together."""
        if self.lines and not self.width:
            raise UsageError("--max-line-count works only with --max-line-width: give --max-line-width too")
        return super().checked(inputs, as_json)

    @property
    def layout(self) -> Layout:
        """The lines of a cue."""
        return Layout(self.width, self.lines)

    def plan(self, files: Sequence[InputFile], formats: Sequence[str]) -> dict[InputFile, dict[str, Path]]:
        """Plan the files of recordings that all get the same formats."""
        return self.plan_each(dict.fromkeys(files, formats), OutputNaming())
