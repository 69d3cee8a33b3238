"""Output of transcripts: one to stdout, many to files named after their inputs."""

from __future__ import annotations

import os
import string
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from gemma_cli.common.notices import notice
from gemma_cli.common.options import OUTPUT
from gemma_cli.core.errors import UsageError
from gemma_cli.media.input_files import InputFile
from gemma_cli.text.subtitles import Layout
from gemma_cli.text.transcript import FORMATS, format_named

FIELDS = ("parent", "stem", "name", "format")


@dataclass(frozen=True)
class OutputNaming:
    """Naming of output files without a template. more: template fields besides FIELDS, and their values."""

    template: str = "{parent}/{stem}.{format}"
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TranscriptOptions:
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
    folder: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write files into this folder instead of stdout.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    template: Annotated[
        str | None,
        typer.Option(
            "--output-template",
            metavar="PATH",
            help=f"Names of the files, of {', '.join(f'{{{name}}}' for name in FIELDS)}. "
            f"Default: {OutputNaming.template}",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Skip inputs whose output files already exist.", rich_help_panel=OUTPUT),
    ] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.", rich_help_panel=OUTPUT)
    ] = False
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

    @property
    def to_files(self) -> bool:
        return self.folder is not None or self.template is not None

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
            if self.skip_existing or self.overwrite:
                raise UsageError("--skip-existing and --overwrite apply to files: give -o DIR")
        return formats

    @property
    def layout(self) -> Layout:
        """The lines of a cue."""
        return Layout(self.width, self.lines)

    def plan(self, files: Sequence[InputFile], formats: Sequence[str]) -> dict[InputFile, dict[str, Path]]:
        """Plan the files of recordings that all get the same formats."""
        return self.plan_each(dict.fromkeys(files, formats), OutputNaming())

    def plan_each(
        self, wanted: Mapping[InputFile, Sequence[str]], naming: OutputNaming
    ) -> dict[InputFile, dict[str, Path]]:
        """Return the files to write for each input, by format; none if all exist and are skipped.

        Raises UsageError where two inputs would get one name, or a file exists and nothing was said of that.
        """
        template = self.template or naming.template
        _check_template(template, (*FIELDS, *naming.more))
        taken: dict[Path, str] = {}
        planned: dict[InputFile, dict[str, Path]] = {}
        for file, formats in wanted.items():
            paths = {form: Path(self.folder or "") / _filled(template, file, form, naming.more) for form in formats}
            for path in paths.values():
                if path in taken:
                    raise UsageError(
                        f"{taken[path]} and {file.path} would both be written to {path}; see --output-template"
                    )
                taken[path] = file.path
            planned[file] = paths if self.overwrite else self._new(paths)
        return planned

    def _new(self, paths: dict[str, Path]) -> dict[str, Path]:
        there = [path for path in paths.values() if os.path.lexists(path)]  # False, not an error, for a name too long
        if there and not self.skip_existing:
            raise UsageError(f"{there[0]} exists; --skip-existing keeps it, --overwrite replaces it")
        return {form: path for form, path in paths.items() if path not in there}


@contextmanager
def told_what_is_written(written: Sequence[object], quiet: bool) -> Iterator[None]:
    """Context of a batch: if it is interrupted after some files, a notice says how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        if written and not quiet:
            count = f"{len(written)} file{'s are' if len(written) > 1 else ' is'} done"
            notice(f"{count}; the same command with --skip-existing does the rest")
        raise


def _check_stdout(formats: Sequence[str], files: int) -> None:
    if len(formats) > 1:
        raise UsageError(f"--format {' and '.join(formats)}: stdout takes one format; -o DIR writes each to a file")
    if files > 1 and format_named(formats[0]).one_recording:
        raise UsageError(
            f"--format {formats[0]} can hold only one recording: "
            "write files with -o DIR, or give --json for all on stdout"
        )


def _check_template(template: str, fields: Sequence[str]) -> None:
    try:
        used = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError:
        used = [""]
    unknown = [name for name in used if name not in fields]
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in fields)
        raise UsageError(f"--output-template {template}: {{{unknown[0]}}} is not a field; use {known}")


def _filled(template: str, file: InputFile, form: str, more: Mapping[str, str]) -> str:
    name = file.relative
    filled = template.format(parent=name.parent, stem=name.stem, name=name.name, format=form, **more)
    return filled.removeprefix("./")
