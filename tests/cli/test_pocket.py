"""What the commands say, end to end: the installed command, the pocket checkpoint, samples it was not trained on."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.cli.command import SAMPLES, Gemma, Outcome

TURN = {"model", "text", "thinking", "finish_reason", "usage", "timings", "speculation"}
USAGE = {"prompt_tokens", "completion_tokens", "thinking_tokens"}
TIMINGS = {"load_s", "ttft_s", "decode_s", "tokens_per_second"}
SPECULATION = {
    *("draft_tokens", "target_passes", "drafted", "accepted"),
    *("acceptance_rate", "mean_acceptance_length", "acceptance_by_position"),
}


def objects(outcome: Outcome) -> list[dict[str, Any]]:
    """The JSON lines of stdout, each checked for the fields every command shares."""
    found = [json.loads(line) for line in outcome.out.splitlines()]
    for turn in found:
        assert set(turn) >= TURN
        assert set(turn["usage"]) == USAGE
        assert set(turn["timings"]) == TIMINGS
        assert set(turn["speculation"]) == SPECULATION
        assert turn["model"] == "pocket"
        assert turn["finish_reason"] == "stop"
        assert turn["usage"]["completion_tokens"] > 0
        assert 0 <= turn["speculation"]["accepted"] <= turn["speculation"]["drafted"]
    return found


def test_chat_reads_what_is_piped_before_the_question(gemma: Gemma) -> None:
    facts = b"The ball is red. The lamp is blue."
    outcome = gemma("chat", "What colour is the lamp?", "--temperature", "0", "--json", stdin=facts)
    (turn,) = objects(outcome)
    assert (outcome.code, outcome.err) == (0, "")
    assert turn["text"] == "Blue."
    assert turn["thinking"] is None


def test_chat_thinks_on_stderr_and_answers_on_stdout(gemma: Gemma) -> None:
    outcome = gemma("chat", "What is 27 + 45?", "--think", "--temperature", "0")
    assert (outcome.code, outcome.out) == (0, "72\n"), outcome
    assert "7 + 5 = 12" in outcome.err


def test_chat_takes_pictures_texts_and_a_system_prompt(gemma: Gemma, tmp_path: Path) -> None:
    (tmp_path / "facts.txt").write_text("Remember the number 41.\n")
    arguments = ["--image", SAMPLES / "star.png", "--system", "Answer briefly.", "--temperature", "0", "--stats"]
    outcome = gemma("chat", "Describe this image.", *arguments)
    assert (outcome.code, outcome.out) == (0, "A green star.\n"), outcome
    assert re.search(r"gemma: \d+ tokens read, \d+ written, first after [\d.]+ s", outcome.err)


def test_transcribe_says_what_was_said_and_a_bad_file_does_not_stop_it(gemma: Gemma) -> None:
    outcome = gemma("transcribe", "number-347.wav", "missing.wav", "cat.en.wav", "--json")
    number, cat = objects(outcome)
    assert outcome.code == 1
    assert outcome.err == "gemma: 1 of 3 files failed: missing.wav: no such file\n"
    assert number["text"] == "347"
    assert cat["text"] == "The cat sleeps under the table."
    assert (number["file"], cat["file"]) == ("number-347.wav", "cat.en.wav")
    assert number["language"] is None
    assert number["duration_s"] == pytest.approx(2.5, abs=0.01)
    times = {"start": pytest.approx(0.05, abs=0.15), "end": pytest.approx(2.15, abs=0.15)}
    assert number["segments"] == [{"id": 0, **times, "text": "347"}]


def test_transcribe_cuts_what_is_longer_than_the_model_hears(gemma: Gemma) -> None:
    number, rate = soundfile.read(SAMPLES / "number-347.wav", dtype="float32")
    pause = np.zeros(18 * rate, np.float32)
    recording = io.BytesIO()
    soundfile.write(recording, np.concatenate([number, pause, number, pause[: 3 * rate]]), rate, format="WAV")
    outcome = gemma("transcribe", "-", "--language", "en", "--format", "srt", stdin=recording.getvalue())
    duration = (2 * len(number) + 21 * rate) / rate
    times = re.findall(r"^(\d\d):(\d\d):([\d,]+) --> (\d\d):(\d\d):([\d,]+)$", outcome.out, re.MULTILINE)
    seconds = [60 * int(m) + float(s.replace(",", ".")) for row in times for m, s in (row[1:3], row[4:6])]
    assert outcome.code == 0
    assert len(times) >= 1, outcome
    assert seconds == sorted(seconds)
    assert seconds[-1] <= duration + 0.01
    assert "347" in outcome.out


def test_translate_tells_text_from_speech(gemma: Gemma) -> None:
    text = gemma("translate", "notes.de.txt", "--to", "English")
    assert (text.code, text.err) == (0, ""), text
    assert text.out == "Good morning. The dog sleeps under the table.\n"
    speech = gemma("translate", "cat.en.wav", "--from", "en", "--to", "de", "--json")
    (turn,) = objects(speech)
    assert turn["transcript"] == "The cat sleeps under the table."
    assert turn["text"] == "Die Katze schläft unter dem Tisch."
    assert (turn["language"], turn["target_language"]) == ("English", "German")


def test_describe_image_names_the_shapes(gemma: Gemma) -> None:
    outcome = gemma("describe-image", "shapes.png", "star.png", "--temperature", "0")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert outcome.out == "==> shapes.png <==\nA red circle and a blue square.\n==> star.png <==\nA green star.\n"


def test_bench_compares_and_finds_the_texts_equal_even_when_sampling(gemma: Gemma) -> None:
    arguments = ["--runs", "2", "--max-tokens", "24", "--temperature", "1", "--seed", "5"]
    outcome = gemma("bench", *arguments, "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 0
    assert set(found) == {
        *("model", "device", "dtype", "quantize", "seed", "runs", "arms", "speedup"),
        *("texts_equal", "first_divergence", "peer", "ratio_to_peer", "round_efficiency"),
    }
    assert (found["model"], found["seed"], found["runs"], found["texts_equal"]) == ("pocket", 5, 2, True)
    plain, speculative = found["arms"]
    assert (plain["name"], plain["draft_tokens"], plain["speculation"]) == ("plain", 0, None)
    assert (speculative["name"], speculative["draft_tokens"]) == ("speculative", 4)
    assert set(speculative["speculation"]) == SPECULATION
    for arm in found["arms"]:
        speed = arm["tokens_per_second"]
        assert 0 < speed["min"] <= speed["median"] <= speed["max"]
        assert arm["ttft_s"] > 0
    ratio = speculative["tokens_per_second"]["median"] / plain["tokens_per_second"]["median"]
    assert found["speedup"] == pytest.approx(ratio, rel=0.01)
    assert "about" in outcome.err


def test_doctor_finds_nothing_wrong_here(gemma: Gemma) -> None:
    outcome = gemma("doctor", "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 0, outcome
    assert found["ok"] is True
    checks = {check["name"]: check for check in found["checks"]}
    assert {"python", "torch", "transformers", "device", "hub cache", "pocket files", "same text"} <= set(checks)
    assert not [check for check in found["checks"] if check["ok"] is False]


def test_models_lists_what_is_here_and_what_could_be(gemma: Gemma) -> None:
    listed = gemma("models")
    assert listed.code == 0
    assert re.search(r"^\*  pocket .* [\d.]+ MB +yes$", listed.out, re.MULTILINE), listed.out
    assert re.search(r"^   e2b +google/gemma-4-E2B-it +no, 10\.2 GB to fetch", listed.out, re.MULTILINE)
    models = {model["name"]: model for model in json.loads(gemma("models", "--json").out)["models"]}
    assert models["pocket"]["state"] == "bundled"
    assert models["google/gemma-4-31B-it"]["state"] == "absent"
