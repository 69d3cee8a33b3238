"""Files that a command writes for its inputs: how they are named, and what happens to those that exist."""

from __future__ import annotations

import os
import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

import typer

from gemma_cli.common.notices import notice
from gemma_cli.common.options import OUTPUT
from gemma_cli.core.errors import UsageError
from gemma_cli.core.records import dataclass
from gemma_cli.media.input_files import InputFile

FIELDS = ("parent", "stem", "name", "format")


class OutputFormat(Protocol):
    """A format of a command's output."""

    @property
    def one_input(self) -> bool:
        """Whether a document in this format holds the output for one input only."""


def format_option(names: Iterable[str], text: str) -> Any:
    """Describe the option --format to Typer. names: the formats of the command; text: the beginning of its help."""
    return typer.Option(
        "--format",
        "-f",
        metavar="|".join(names),
        help=f"{text} With -o, you can repeat this option to write several formats. Default: txt.",
        rich_help_panel=OUTPUT,
    )


@dataclass(frozen=True)
class OutputNaming:
    """How files are named where no template is given; more: what a template may hold beside FIELDS, and its value."""

    template: str = "{parent}/{stem}.{format}"
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FileOptions:
    """The formats of the output, its files, and what happens to files that exist.

    Each command has a subclass, which sets `known` and declares `formats` with `format_option`.
    """

    known: ClassVar[Mapping[str, OutputFormat]]
    """The formats of the command, by name; txt is one of them."""

    folder: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write one file per input into this folder instead of printing to stdout.",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    template: Annotated[
        str | None,
        typer.Option(
            "--output-template",
            metavar="PATH",
            help="Template for the names of output files, with the fields "
            f"{', '.join(f'{{{name}}}' for name in FIELDS)}. "
            f"Default: {OutputNaming.template}",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Skip inputs whose output files already exist.", rich_help_panel=OUTPUT),
    ] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace output files that already exist.", rich_help_panel=OUTPUT)
    ] = False
    formats: list[str] | None = None

    @property
    def to_files(self) -> bool:
        return self.folder is not None or self.template is not None

    @property
    def writes(self) -> bool:
        """Whether output goes into files, and not to stdout."""
        return self.to_files

    def checked(self, inputs: int, as_json: bool) -> tuple[str, ...]:
        """Return the formats for so many inputs. Raises UsageError for options that do not fit together."""
        formats = tuple(dict.fromkeys(self.formats or ["txt"]))
        if unknown := [name for name in formats if name not in self.known]:
            raise UsageError(f"--format {unknown[0]}: unknown format; choose one of {', '.join(self.known)}")
        if as_json and (self.writes or self.formats):
            raise UsageError(
                "--json prints to stdout and cannot be combined with --format "
                "or -o; to write JSON files, give --format json -o DIR"
            )
        if not self.to_files and len(formats) > 1:
            names = " and ".join(formats)
            raise UsageError(
                f"--format {names}: only one format can be printed to "
                "stdout; give -o DIR to write several formats to files"
            )
        if not self.writes:
            if inputs > 1 and self.known[formats[0]].one_input:
                alternative = "jsonl" if "jsonl" in self.known else "--json"
                raise UsageError(
                    f"--format {formats[0]} is for a single input: "
                    f"give -o DIR to write one file per input, or {alternative} to print all inputs on stdout"
                )
            if self.skip_existing or self.overwrite:
                raise UsageError("--skip-existing and --overwrite apply only to output files: give -o DIR too")
        return formats

    def plan_each(
        self, wanted: Mapping[InputFile, Sequence[str]], naming: OutputNaming
    ) -> dict[InputFile, dict[str, Path]]:
        """The files to write for each input, by format: none where all are there and left alone.

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
                        f"{taken[path]} and {file.path} have the same "
                        f"output file {path}; give another --output-template"
                    )
                taken[path] = file.path
            planned[file] = paths if self.overwrite else self.unwritten(paths)
        return planned

    def unwritten(self, paths: dict[str, Path]) -> dict[str, Path]:
        """Return those of the files that are to be written. Raises UsageError where one exists and nothing was said."""
        there = [path for path in paths.values() if os.path.lexists(path)]  # False, not an error, for a name too long
        if there and not self.skip_existing:
            raise UsageError(
                f"{there[0]}: the output file already exists; to keep the "
                "file, give --skip-existing; to replace the file, --overwrite"
            )
        return {form: path for form, path in paths.items() if path not in there}


@contextmanager
def told_what_is_written(written: Sequence[object], quiet: bool) -> Iterator[None]:
    """Around a batch: one that is interrupted tells how to go on after what it has written."""
    try:
        yield
    except KeyboardInterrupt:
        if written and not quiet:
            count = f"{len(written)} file{'s are' if len(written) > 1 else ' is'} done"
            notice(f"{count}; to continue, run the same command with --skip-existing")
        raise


def _check_template(template: str, fields: Sequence[str]) -> None:
    try:
        used = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError:
        used = [""]
    unknown = [name for name in used if name not in fields]
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in fields)
        raise UsageError(f"--output-template {template}: {{{unknown[0]}}} is an unknown field; use {known}")


def _filled(template: str, file: InputFile, form: str, more: Mapping[str, str]) -> str:
    name = file.relative
    filled = template.format(parent=name.parent, stem=name.stem, name=name.name, format=form, **more)
    return filled.removeprefix("./")
