"""Attachments of a question, from the command line and from standard input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from typing import Annotated

import typer

from gemma_cli.common.attachments import Attachable, attachment, attachment_in
from gemma_cli.common.notices import notice
from gemma_cli.common.text_input import GIVE_ENCODING, MOST_TEXT, checked_encoding, text_in
from gemma_cli.core.errors import UsageError
from gemma_cli.core.messages import MAX_AUDIO_S, Part
from gemma_cli.core.records import dataclass
from gemma_cli.media.files import STDIN, display_name, spooled_stdin

ATTACHMENTS = "Attachments"

Files = list[str] | None


@dataclass(frozen=True)
class AttachOptions:
    """Files, http(s) addresses and standard input that a question comes with."""

    attach: Annotated[
        Files,
        typer.Option(
            "--attach",
            "-a",
            metavar="FILE|URL|-",
            help="Attach a picture, sound, video, text or PDF of any supported format; repeatable.",
            rich_help_panel=ATTACHMENTS,
        ),
    ] = None
    image: Annotated[
        Files,
        typer.Option("--image", metavar="FILE", help="Attach a picture; repeatable.", rich_help_panel=ATTACHMENTS),
    ] = None
    video: Annotated[
        Files,
        typer.Option(
            "--video",
            metavar="FILE",
            help="Attach a video; the model sees one frame per second, at most 60 frames; repeatable.",
            rich_help_panel=ATTACHMENTS,
        ),
    ] = None
    audio: Annotated[
        Files,
        typer.Option(
            "--audio",
            metavar="FILE",
            help=f"Attach a sound file of at most {MAX_AUDIO_S} s; repeatable.",
            rich_help_panel=ATTACHMENTS,
        ),
    ] = None
    file: Annotated[
        Files,
        typer.Option(
            "--file", "-f", metavar="FILE", help="Attach a text file or a PDF; repeatable.", rich_help_panel=ATTACHMENTS
        ),
    ] = None
    encoding: Annotated[
        str | None,
        typer.Option(
            "--encoding",
            metavar="NAME",
            help="Encoding of attached and piped texts that are not UTF-8. Default: detected.",
            rich_help_panel=ATTACHMENTS,
        ),
    ] = None

    @property
    def takes_stdin(self) -> bool:
        """Whether standard input is an attachment, and so not the question."""
        return any(name == STDIN for name, _ in self._named())

    def read(self, quiet: bool) -> list[Part]:
        """Return the attachments. Raises InputError, and UsageError where standard input is named twice."""
        named = self._named()
        if sum(name == STDIN for name, _ in named) > 1:
            raise UsageError("standard input can be attached only once: give - to only one option")
        return [self.reader(name, kind, quiet) for name, kind in named]

    @property
    def reader(self) -> Callable[..., Part]:
        """`attachment` for texts in the encoding that was named."""
        return partial(attachment, encoding=checked_encoding(self.encoding))

    def check(self, piped: str | Part | None, once: bool) -> None:
        """Raises UsageError for an encoding that nothing is read in."""
        if checked_encoding(self.encoding) and once and not (piped or self.attach or self.file):
            raise UsageError("--encoding applies only to attached or piped texts: pipe text in, or give -a or -f too")

    def _named(self) -> list[tuple[str, Attachable | None]]:
        options: list[tuple[Files, Attachable | None]] = [
            (self.attach, None),
            (self.image, "image"),
            (self.video, "video"),
            (self.file, "text"),
            (self.audio, "audio"),
        ]
        return [(name, kind) for names, kind in options for name in names or ()]


def read_piped(encoding: str | None = None) -> str | Part | None:
    """Return the text that is piped in, or the picture, sound, video or PDF; None where someone sits at a terminal.

    encoding: of a text. Raises InputError.
    """
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        return None
    name = display_name(STDIN)
    content = sys.stdin.buffer.read(MOST_TEXT + 1)
    if not content:
        return ""
    from gemma_cli.media.recognize import recognize

    if recognize(BytesIO(content), name) == "text":
        return text_in(BytesIO(content), name, encoding, remedy=GIVE_ENCODING).text.strip()
    with spooled_stdin(content) as file:  # decoders need a descriptor
        return attachment_in(file, name)


def questioned(texts: Sequence[str | None], attached: Sequence[Part]) -> str:
    """Join what was piped in and typed to one question. Raises UsageError where there is nothing to answer."""
    question = "\n\n".join(text for text in texts if text and text.strip())
    if not question and not attached:
        raise UsageError("no prompt: give a PROMPT, pipe text into gemma chat, or run gemma chat in a terminal")
    return question


def report_mentioned(prompt: str) -> None:
    """Report the files that a prompt names: a script may have put it together, so none is attached from it."""
    if not {"@", "."} & set(prompt):  # every mention of a file has one
        return
    from gemma_cli.repl.line.mentions import mentions

    for mention in mentions(prompt):
        if mention.paths:
            notice(f"{mention.word} is sent as plain text; to attach the file, give -a {mention.word}")
