"""Files that come along with a question on the command line or through a pipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.helpers.command import SAMPLES, Gemma
from tests.media.pdf_file import pdf

GREEDY = ("--temperature", "0", "--no-save")
STAR = (SAMPLES / "star.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [(("-a", "star.png"), b""), ((), STAR), (("-a", "-"), STAR), (("--image", "-"), STAR)],
)
def test_a_picture_is_seen_however_it_comes(gemma: Gemma, arguments: tuple[str, ...], stdin: bytes) -> None:
    seen = gemma("chat", "Describe this image.", *arguments, *GREEDY, stdin=stdin)
    assert (seen.code, seen.out, seen.err) == (0, "A green star.\n", "")


def test_a_document_is_read_from_a_file_and_from_a_pipe(gemma: Gemma, tmp_path: Path) -> None:
    (tmp_path / "report").write_bytes(pdf("The lamp is blue. The ball is red."))
    question = ("chat", "What colour is the lamp?", *GREEDY, "--json")
    told = [
        gemma(*question, "-a", "report", cwd=tmp_path),
        gemma(*question, "-f", "report", cwd=tmp_path),
        gemma(*question, stdin=(tmp_path / "report").read_bytes()),
    ]
    assert [(answer.code, answer.err) for answer in told] == [(0, "")] * 3
    assert all('"The lamp is blue."' in answer.out for answer in told)


def test_a_file_that_a_prompt_names_is_reported_and_not_attached(gemma: Gemma) -> None:
    answered = gemma("chat", "Describe this. star.png", *GREEDY)
    assert answered.code == 0
    assert answered.err == "gemma: star.png is sent as plain text; to attach the file, give -a star.png\n"
    assert "green" not in answered.out
    assert gemma("chat", *GREEDY, stdin=b"Describe this. star.png").err == ""
    assert gemma("chat", "-q", "Describe this. star.png", *GREEDY).err == ""


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (("   ",), b"", "no prompt"),
        (("",), b"  \n", "no prompt"),
        (("a", "-a", "-", "--image", "-"), STAR, "standard input can be attached only once"),
        (("a", "-a", "-"), b"", "standard input: the file is empty"),
        (("a", "-a", "gone.png"), b"", "gone.png: no such file"),
        (("a",), b"\0\1\2" * 50, "not a picture, sound, video, PDF or text"),
    ],
)
def test_what_is_wrong_is_one_line(gemma_here: Gemma, arguments: tuple[str, ...], stdin: bytes, words: str) -> None:
    gemma_here("chat", *arguments, stdin=stdin).refuses(words)


def test_a_blank_question_about_a_picture_is_refused(gemma_here: Gemma) -> None:
    gemma_here("describe-image", "star.png", "--prompt", "  ").refuses("--prompt is empty")
