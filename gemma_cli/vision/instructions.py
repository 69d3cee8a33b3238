"""Questions about pictures and videos."""

from __future__ import annotations

from typing import Literal, get_args

from gemma_cli.core.errors import UsageError
from gemma_cli.text.languages import language as language_named

Length = Literal["short", "normal", "long"]
LENGTHS = get_args(Length)

IMAGE = "Describe this image."
IMAGES = "Describe these images."
VIDEO = "Describe this video."
TITLE = "Give that a title of at most six words."
SUMMARY = "These are descriptions of the parts of a video, in order. Summarize the video:"

_LENGTH = {
    "short": " Answer in one short sentence.",
    "normal": "",
    "long": " Describe every detail in several sentences.",
}


def instruction(question: str, length: str, language: str | None) -> str:
    """Return the question, followed by the wanted length and language of the answer. Raises UsageError.

    length: one of LENGTHS.
    language: a name or code; None leaves it to the model.
    """
    if not question.strip():
        raise UsageError("--prompt is empty: write a question, or leave out --prompt")
    if length not in LENGTHS:
        raise UsageError(f"--length {length}: unknown length; choose one of {', '.join(LENGTHS)}")
    answer = f" Answer in {language_named(language).name}." if language else ""
    return f"{question}{_LENGTH[length]}{answer}"
