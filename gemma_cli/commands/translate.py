"""`gemma translate`: speech or text into another language."""


def speech_prompt(source: str, target: str) -> str:
    """The speech-translation prompt of the Gemma 4 model card: transcript, newline, `TARGET: `, translation."""
    return (
        f"Transcribe the following speech segment in {source}, then translate it into {target}.\n"
        f"When formatting the answer, first output the transcription in {source}, then one newline, "
        f"then output the string '{target}: ', then the translation in {target}."
    )


def text_prompt(text: str, source: str | None, target: str) -> str:
    """Ask for the translation of a text and nothing else; None leaves the source language to the model."""
    origin = f" from {source}" if source else ""
    return f"Translate the following text{origin} into {target}. Only output the translation.\n\n{text}"
