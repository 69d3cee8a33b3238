"""Options of describe-image and describe-video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gemma_cli.common.command_line.setting_options import ranged
from gemma_cli.common.options import OUTPUT, SamplingOptions
from gemma_cli.common.output_files import FileOptions, OutputNaming, format_option
from gemma_cli.core.errors import UsageError
from gemma_cli.core.messages import Sampling
from gemma_cli.core.records import dataclass
from gemma_cli.media.fetching.fetch import is_address
from gemma_cli.media.files import STDIN
from gemma_cli.media.input_files import InputFile
from gemma_cli.vision.formats import FORMATS
from gemma_cli.vision.instructions import LENGTHS

ALT = "alt"
"""The format name of the alternative text next to a picture (--write-alt)."""

COPY = "copy"
"""The format name of a copy of the picture with the description in its metadata (--write-metadata)."""


@dataclass(frozen=True)
class GreedySampling(SamplingOptions):
    """Sampling options; by default decoding is greedy, so the same picture gets the same description."""

    temperature: Annotated[
        float, ranged("temperature", "Sampling temperature. Default: 0, which decodes greedily.")
    ] = 0.0

    def sampling(self, thinking: bool = False) -> Sampling:
        """Return the values as an engine takes them; greedy decoding draws no seed."""
        chosen = super().sampling(thinking)
        given = vars(self)["seed"]
        return chosen if chosen.temperature else Sampling(**{**vars(chosen), "seed": given or 0})


@dataclass(frozen=True)
class QuestionOptions:
    """Options for the length, language and form of the answers."""

    length: Annotated[str, typer.Option("--length", metavar="|".join(LENGTHS), help="Length of the descriptions.")] = (
        "normal"
    )
    language: Annotated[
        str | None,
        typer.Option("--language", "-l", metavar="LANGUAGE", help="Language of the descriptions, as a name or a code."),
    ] = None
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema", metavar="FILE", help="Make each description match this JSON schema.", rich_help_panel=OUTPUT
        ),
    ] = None

    def checked_schema(self) -> str | None:
        """Return the schema in the form of a request. Raises InputError with the file and the place of the error."""
        if self.schema is None:
            return None
        from gemma_cli.common.text_input import read_text
        from gemma_cli.core.json_schema import checked
        from gemma_cli.media.files import display_name

        return checked(read_text(self.schema), display_name(self.schema))


@dataclass(frozen=True)
class DescriptionOptions(FileOptions):
    """Formats and files of descriptions."""

    known = FORMATS

    formats: Annotated[list[str] | None, format_option(FORMATS, "Format of the descriptions.")] = None
    write_alt: Annotated[
        bool,
        typer.Option(
            "--write-alt",
            help="Write each description as one line into the file NAME.alt.txt, next to the picture.",
            rich_help_panel=OUTPUT,
        ),
    ] = False

    write_metadata: Annotated[
        bool,
        typer.Option(
            "--write-metadata",
            help="With -o: also copy each JPEG, PNG or WebP picture, "
            "with the description in the metadata (XMP) of the copy.",
            rich_help_panel=OUTPUT,
        ),
    ] = False

    @property
    def writes(self) -> bool:
        return self.to_files or self.write_alt

    def checked(self, inputs: int, as_json: bool) -> tuple[str, ...]:
        """Return the formats. Raises UsageError for options that do not fit together."""
        if self.write_metadata and self.folder is None:
            raise UsageError("--write-metadata writes copies of pictures: give a folder for the copies with -o DIR")
        return super().checked(inputs, as_json)

    def plan(self, files: Sequence[InputFile], formats: Sequence[str]) -> dict[InputFile, dict[str, Path]]:
        """Return the files to write for each input, by format, including ALT and COPY; see `plan_each`."""
        planned = self.plan_each(dict.fromkeys(files, formats if self.to_files else ()), OutputNaming())
        beside: dict[InputFile, dict[str, Path]] = {file: {} for file in files}
        for file, paths in beside.items():
            if self.write_alt:
                paths[ALT] = _beside(file)
            if self.write_metadata:
                paths[COPY] = self._copy(file)
            planned[file] = planned[file] | (paths if self.overwrite else self.unwritten(paths))
        return planned

    def _copy(self, file: InputFile) -> Path:
        if file.path == STDIN or is_address(file.path):
            raise UsageError(
                f"{file.path}: --write-metadata works only for pictures on this disk; download the picture first"
            )
        path = Path(self.folder or "") / file.relative
        if path.resolve() == Path(file.path).resolve():
            raise UsageError(f"{file.path}: the copy would replace the original picture; give another folder with -o")
        return path


def _beside(file: InputFile) -> Path:
    if file.path == STDIN or is_address(file.path):
        raise UsageError(f"{file.path}: --write-alt works only for pictures on this disk; give -o DIR instead")
    return Path(f"{file.path}.alt.txt")
