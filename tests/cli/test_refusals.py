"""Bad input: exit code 2, one line that names the input and what to do, nothing on stdout, and no model is loaded."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest

from tests.cli.helpers.command import SAMPLES, Gemma

SOUND = (SAMPLES / "number-347.wav").read_bytes()
PICTURE = (SAMPLES / "star.png").read_bytes()


def png(width: int, height: int) -> bytes:
    """A PNG whose header says so, whatever else is wrong with it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


FILES = {
    "empty.wav": b"",
    "notes.wav": b"These are notes, not sound.\n" * 20,
    "truncated.wav": SOUND[: len(SOUND) // 2],
    "header.wav": SOUND[:44],
    "empty.png": b"",
    "notes.png": b"hello\n",
    "none.png": png(0, 0),
    "huge.png": png(60_000, 60_000),
    "corrupt.png": PICTURE[:200] + b"\xa5" * 400 + PICTURE[600:],
    "truncated.png": PICTURE[: len(PICTURE) // 2],
    "binary.txt": bytes(range(256)),
    "blank.txt": b" \n\n",
    "words.jsonl": b"count to ten\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe")
    return folder


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("transcribe missing.wav", ["missing.wav", "no such file"]),
        ("transcribe empty.wav", ["empty.wav", "empty"]),
        ("transcribe notes.wav", ["notes.wav", "not"]),
        ("transcribe header.wav", ["header.wav"]),
        ("transcribe pipe", ["pipe"]),
        ("transcribe https://me:word@example.org/a.wav", ["https://example.org", "download"]),
        ("transcribe missing.wav --language Klingon", ["Klingon"]),
        ("transcribe missing.wav --language Germn", ["Germn", "German"]),
        ("transcribe missing.wav --format doc", ["doc", "srt"]),
        ("transcribe a.wav b.wav --format srt", ["srt", "--json"]),
        ("transcribe", ["no input", "name a file", "--mic"]),
        ("translate missing.txt --to German", ["missing.txt", "no such file"]),
        ("translate blank.txt --to German", ["blank.txt"]),
        ("translate binary.txt --to German", ["binary.txt"]),
        ("translate missing.txt", ["--to"]),
        ("translate missing.txt --to Germn", ["Germn", "German"]),
        ("translate missing.txt --to German --from Elvish", ["Elvish"]),
        ("describe-image missing.png", ["missing.png", "no such file"]),
        ("describe-image empty.png", ["empty.png", "empty"]),
        ("describe-image notes.png", ["notes.png", "PNG"]),
        ("describe-image none.png", ["none.png"]),
        ("describe-image huge.png", ["huge.png", "pixels"]),
        ("describe-image corrupt.png", ["corrupt.png"]),
        ("describe-image truncated.png", ["truncated.png"]),
        ("describe-image missing.png --detail 100", ["--detail", "280"]),
        ("describe-image a*.webp", ["a*.webp", "no file matches"]),
        ("describe-video missing.mp4", ["missing.mp4", "no such file"]),
        ("describe-video notes.png", ["notes.png", "not sound or video"]),
        ("chat hello --image notes.png", ["notes.png"]),
        ("chat hello --audio notes.wav", ["notes.wav"]),
        ("chat hello --file binary.txt", ["binary.txt", "UTF-8"]),
        ("chat hello --file missing.txt", ["missing.txt"]),
        ("chat", ["PROMPT"]),
        ("chat hello --temperature -1", ["--temperature"]),
        ("chat hello --temperature nan", ["--temperature"]),
        ("chat hello --top-p 1.5", ["--top-p"]),
        ("chat hello --max-tokens 0", ["--max-tokens"]),
        ("chat hello --draft-tokens 99", ["--draft-tokens"]),
        ("chat hello --dtype float8", ["--dtype"]),
        ("chat hello --tempreature 1", ["--tempreature", "--temperature"]),
        ("bench --prompts words.jsonl", ["words.jsonl:1", "prompt"]),
        ("bench --prompts missing.jsonl", ["missing.jsonl", "no such file"]),
        ("bench --prompts words.jsonl --prompt hello", ["--prompts"]),
        ("models pull pocket", ["pocket"]),
        ("models fetch", ["fetch"]),
        ("trancribe a.wav", ["trancribe", "transcribe"]),
        ("--modle e2b", ["--modle"]),
    ],
)
def test_says_what_is_wrong(gemma_here: Gemma, folder: Path, command: str, words: list[str]) -> None:
    gemma_here(*command.split(), cwd=folder).refuses(*words)


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (["transcribe", "-"], b"", ["standard input", "empty"]),
        (["transcribe", "-"], b"hello", ["standard input"]),
        (["translate", "-", "--to", "de"], b"  \n", ["standard input"]),
        (["translate", "-", "--to", "de"], b"", ["standard input", "empty"]),
        (["describe-image", "-"], PICTURE[:500], ["standard input"]),
        (["chat"], b"", ["PROMPT"]),
    ],
)
def test_says_what_is_wrong_with_what_is_piped(
    gemma_here: Gemma, arguments: list[str], stdin: bytes, words: list[str]
) -> None:
    gemma_here(*arguments, stdin=stdin).refuses(*words)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("gemma-5", ["gemma-5"]),
        ("e3b", ["e3b", "did you mean"]),
        ("./nowhere", ["./nowhere", "the folder does not exist"]),
        ("e2b", ["google/gemma-4-E2B-it", "gemma models pull e2b", "10.2 GB"]),
        ("someone/some-model", ["someone/some-model", "gemma models pull"]),
        (str(SAMPLES), ["config.json"]),
    ],
)
def test_names_the_model_that_is_not_there(gemma_here: Gemma, model: str, words: list[str]) -> None:
    gemma_here("chat", "hello", "--model", model).refuses(*words)


def test_a_setting_of_the_environment_is_held_to_the_same_ranges(gemma_here: Gemma) -> None:
    gemma_here("chat", "hello", env={"GEMMA_TEMPERATURE": "cold"}).refuses("--temperature", "GEMMA_TEMPERATURE")
    gemma_here("chat", "hello", env={"GEMMA_MODEL": "e3b"}).refuses("e3b")


def test_what_is_wrong_cannot_drive_the_terminal(gemma: Gemma) -> None:
    name = "\x1b]0;owned\x07\x1b[31m[/b]\n.wav"
    refused = gemma("describe-image", name)
    refused.refuses("^[]0;owned^G^[[31m[/b]^J.wav", "no file matches")  # brackets make it a pattern
    assert "\x1b" not in refused.err


def test_every_bad_file_of_a_batch_is_told_at_the_end(gemma: Gemma, folder: Path) -> None:
    gemma("describe-image", "empty.png", "notes.png", "missing.png", cwd=folder).refuses(
        "3 of 3 files failed",
        "empty.png: the file is empty",
        "notes.png: not a picture",
        "missing.png: no such file",
        code=1,
    )
