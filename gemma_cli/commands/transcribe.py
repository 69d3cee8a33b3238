"""`gemma transcribe`: speech to text in its own language."""

FORMATTING = """\
Follow these specific instructions for formatting the answer:
* Only output the transcription, with no newlines.
* When transcribing numbers, write the digits, i.e. write 1.7 and not one point seven, and write 3 instead of three."""


def prompt(language: str | None) -> str:
    """The speech-recognition prompt of the Gemma 4 model card; None lets the model hear which language it is."""
    if language is None:
        request = "Transcribe the following speech segment in its original language."
    else:
        request = f"Transcribe the following speech segment in {language} into {language} text."
    return f"{request}\n\n{FORMATTING}"
