"""Output of descriptions: to stdout in the order of the inputs, or to one file per input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gemma_cli.common.notices import figures, notice
from gemma_cli.common.options import ModelOptions, OutputOptions
from gemma_cli.core.events import Turn
from gemma_cli.core.messages import Image, Video
from gemma_cli.media.pictures.metadata import described
from gemma_cli.store.atomic_write import write_together
from gemma_cli.views.sanitize import safe
from gemma_cli.vision.describing import Description
from gemma_cli.vision.formats import FORMATS, alternative, document
from gemma_cli.vision.options import ALT, COPY
from gemma_cli.vision.reading import PictureFacts
from gemma_cli.vision.task import Task


class DescriptionOutput:
    """Prints or writes the descriptions of one command."""

    def __init__(self, task: Task, engine: ModelOptions, output: OutputOptions, form: str, many: bool) -> None:
        """form: the format of stdout.
        many: whether there are several inputs.
        """
        self.task, self.engine, self.output = task, engine, output
        self._printed = FORMATS[form](many)

    @contextmanager
    def progress(self, files: int, printed: bool) -> Iterator[Callable[[float], None]]:
        """Show how many files are described, unless stdout is on the same terminal; yield a function that counts."""
        if files < 2 or self.output.quiet or (printed and sys.stdout.isatty()):
            yield lambda _: None
            return
        from gemma_cli.views.console import terminal
        from gemma_cli.views.status import counting

        with counting(terminal(sys.stderr), "describing", files, "files") as advance:
            yield advance

    def begin(self) -> None:
        """Print the beginning of the output on stdout."""
        if not self.output.as_json:
            _print(self._printed.begin())

    def end(self) -> None:
        """Print the end of the output on stdout."""
        if not self.output.as_json:
            _print(self._printed.end())

    def write(self, pictures: Sequence[Description], paths: dict[str, Path] | None) -> None:
        """Write the descriptions of a file to `paths`; None: to stdout."""
        for picture in pictures:
            self._remark(picture)
        if paths:
            self._save([self.record(picture) for picture in pictures], paths)
        elif paths is None:
            for picture in pictures:
                self._tell(picture)

    def _tell(self, picture: Description) -> None:
        if self.output.as_json:
            from gemma_cli.views import json

            json.write(self.object(picture.facts, picture.answer, picture.first), sys.stdout)
        else:
            _print(self._printed.record(self.record(picture)))

    def tell_together(self, pictures: Sequence[PictureFacts], turn: Turn) -> None:
        """Print the JSON object of an answer about several pictures; soft_tokens is their sum."""
        from gemma_cli.views import json

        of_all = ("detail", "soft_tokens")
        each = [self.facts(facts, turn) for facts in pictures]
        files = [{name: value for name, value in one.items() if name not in of_all} for one in each]
        json.write({"files": files} | {name: each[0][name] for name in of_all} | self._fields(turn), sys.stdout)

    def _save(self, records: list[dict[str, Any]], paths: dict[str, Path]) -> None:
        forms = {form: path for form, path in paths.items() if form not in (ALT, COPY)}
        texts: dict[Path, str | bytes] = {path: safe(document(records, FORMATS[form])) for form, path in forms.items()}
        if COPY in paths:
            content, name = Path(records[0]["file"]).read_bytes(), records[0]["file"]
            texts[paths[COPY]] = described(content, "\n".join(record["text"] for record in records), name)
        if ALT in paths:
            lines = [safe(alternative(record["text"])) + "\n" for record in records]
            texts[paths[ALT]] = "".join(lines)
        write_together(texts)

    def _remark(self, picture: Description) -> None:
        turn = picture.answer
        if turn.finish_reason == "length" and not self.output.quiet:
            notice(
                f"{picture.facts.label}: the description was cut off at --max-tokens "
                f"({turn.usage.completion_tokens}); raise --max-tokens"
            )
        if self.output.stats and not (picture.resumed or picture.first):
            notice(f"{picture.facts.label}: {figures(turn)}")

    def record(self, picture: Description) -> dict[str, Any]:
        """Return the fields that formats write; none depends on the speed of the machine."""
        turn = picture.answer
        return self.facts(picture.facts, turn, picture.first) | {"text": turn.text.strip()} | self._held(turn)

    def object(self, facts: PictureFacts, turn: Turn, first: Description | None = None) -> dict[str, Any]:
        """Return the JSON object of --json: the fields of the picture, then those of every command."""
        return self.facts(facts, turn, first) | self._fields(turn)

    def _fields(self, turn: Turn) -> dict[str, Any]:
        from gemma_cli.views import json

        return json.turn_object(turn, self.task.engine().info, self.engine.draft_tokens, self.task.request())

    def facts(self, facts: PictureFacts, turn: Turn, first: Description | None = None) -> dict[str, Any]:
        """Return the fields of a picture: among them detail, its budget, and soft_tokens, how many of it were used."""
        return {
            "file": facts.name,
            "page": facts.page,
            "width": facts.width,
            "height": facts.height,
            "orientation": facts.orientation,
            "frames": facts.frames,
            "detail": self.task.budget or self.task.engine().info.image_budget,
            "soft_tokens": turn.usage.media_tokens,
            "same_as": first.facts.label if first else None,
        }

    def _held(self, turn: Turn) -> dict[str, Any]:
        """Return the parsed value of a description with a schema, as a field."""
        if self.task.schema is None:
            return {}
        import json

        try:
            return {"data": json.loads(turn.text)}
        except ValueError:  # truncated; the user was warned
            return {"data": None}


def preview_of(part: Image | Video) -> None:
    """Print a thumbnail on stdout, a terminal: the picture, or the first frame of a video."""
    from gemma_cli.views.console import terminal
    from gemma_cli.views.picture import show

    show((part.frames[0] if isinstance(part, Video) else part).pixels, terminal(sys.stdout))


def _print(text: str) -> None:
    if text:
        sys.stdout.write(safe(text))
        sys.stdout.flush()
