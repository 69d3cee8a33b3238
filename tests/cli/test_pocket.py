"""What the commands say, end to end: the installed command, the pocket checkpoint, samples it was not trained on."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.cli.helpers.command import SAMPLES, Gemma, Outcome

TURN = {"model", "text", "thinking", "finish_reason", "usage", "timings", "speculation"}
USAGE = {"prompt_tokens", "completion_tokens", "thinking_tokens"}
TIMINGS = {"load_s", "ttft_s", "decode_s", "tokens_per_second"}
SPECULATION = {
    *("draft_tokens", "target_passes", "drafted", "accepted"),
    *("acceptance_rate", "mean_acceptance_length", "acceptance_by_position", "lookup"),
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


def test_transcribe_cuts_what_is_longer_than_the_model_hears(gemma: Gemma) -> None:
    """Two numbers with a long silence between them on stdin, then a file; one object each."""
    number, rate = soundfile.read(SAMPLES / "number-347.wav", dtype="float32")
    second = (len(number) + 30 * rate) / rate
    recording = io.BytesIO()
    silence = np.zeros(30 * rate, np.float32)
    soundfile.write(recording, np.concatenate([number, silence, number, silence[:rate]]), rate, format="WAV")
    outcome = gemma("transcribe", "-", "cat.en.wav", "--json", stdin=recording.getvalue())
    numbers, cat = objects(outcome)
    assert outcome.code == 0
    assert [segment["text"] for segment in numbers["segments"]] == ["347", "347"]
    assert [segment["id"] for segment in numbers["segments"]] == [0, 1]
    first, last = numbers["segments"]
    assert 0 <= first["start"] < first["end"] <= 3
    assert second - 0.5 < last["start"] < last["end"] < second + 3.5
    assert numbers["duration_s"] == pytest.approx(2 * len(number) / rate + 31, abs=0.01)
    assert (numbers["text"], numbers["file"], numbers["language"]) == ("347 347", "standard input", None)
    assert (cat["text"], cat["file"]) == ("The cat sleeps under the table.", "cat.en.wav")


def test_translate_gives_both_halves_of_speech(gemma: Gemma) -> None:
    outcome = gemma("translate", "cat.en.wav", "--from", "en", "--to", "de", "--json", "--stats")
    (turn,) = objects(outcome)
    assert outcome.code == 0
    assert re.fullmatch(r"gemma: \d+ tokens read, \d+ written, first after [\d.]+ s.*\n", outcome.err), outcome
    assert turn["transcript"] == "The cat sleeps under the table."
    assert turn["text"] == "Die Katze schläft unter dem Tisch."
    assert (turn["language"], turn["target_language"]) == ("English", "German")


def test_bench_compares_and_finds_the_texts_equal_even_when_sampling(gemma: Gemma) -> None:
    arguments = ["--runs", "2", "--max-tokens", "24", "--temperature", "1", "--seed", "5"]
    outcome = gemma("bench", *arguments, "--json")
    found = json.loads(outcome.out)
    assert outcome.code == 0
    assert set(found) == {
        *("model", "device", "dtype", "quantize", "seed", "temperature", "synthetic_acceptance", "runs", "arms"),
        *("categories", "speedup", "texts_equal", "first_divergence"),
        *("peer", "ratio_to_peer", "round_efficiency", "bandwidth"),
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
