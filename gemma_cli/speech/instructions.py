"""Prompts for a segment of speech, in the words of the Gemma 4 model card."""

from __future__ import annotations

FORMATTING = """\
Follow these specific instructions for formatting the answer:
* Only output the transcription, with no newlines.
* When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven, and write 3 instead of three."""

UNKNOWN_SOURCE = "its original language"
"""Stands in the translation prompt for a source that was not named, in the words of the transcription prompt."""


def transcription(language: str | None, context: str | None = None) -> str:
    """Return the card's speech-recognition prompt; None lets the model recognise the language.

    context: names and words that may occur, spelled as they should be.
    """
    if language is None:
        request = "Transcribe the following speech segment in its original language."
    else:
        request = f"Transcribe the following speech segment in {language} into {language} text."
    spelled = f"\n* These may occur; spell them so: {' '.join(context.split())}" if context else ""
    return f"{request}\n\n{FORMATTING}{spelled}"


def translation(source: str, target: str, context: str | None = None) -> str:
    """Return the card's speech-translation prompt: transcript, newline, `TARGET: `, translation.

    context: names and words that may occur, spelled as they should be.
    """
    return (
        f"Transcribe the following speech segment in {source}, then translate it into {target}.\n"
        f"When formatting the answer, first output the transcription in {source}, then one newline, "
        f"then output the string '{target}: ', then the translation in {target}.{spelling(context)}"
    )


def spelling(context: str | None) -> str:
    """Return the sentence that tells how names and words are spelled; "" without any."""
    return f" These may occur; spell them so: {' '.join(context.split())}" if context else ""
