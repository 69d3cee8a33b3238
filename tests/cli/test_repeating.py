"""What `--json` prints is enough to get the same answer again."""

from __future__ import annotations

import json

from tests.cli.helpers.command import Gemma


def test_an_answer_is_repeated_from_its_object(gemma: Gemma) -> None:
    prompt = ("chat", "Tell me something.", "--no-save", "--json")
    first = json.loads(gemma(*prompt, "--temperature", "1.7", "--top-k", "40", "-s", "Be brief.").out)
    chosen = first["settings"]
    again = gemma(
        *prompt,
        *("--model", first["model"], "--seed", first["seed"], "--device", chosen["device"], "--dtype", chosen["dtype"]),
        *("--temperature", chosen["temperature"], "--top-k", chosen["top_k"], "--top-p", chosen["top_p"]),
        *("--max-tokens", chosen["max_tokens"], "--system", chosen["system"], "--draft-tokens", 0),
    )
    repeated = json.loads(again.out)
    assert repeated["text"] == first["text"]
    assert repeated["seed"] == first["seed"]
    assert repeated["settings"] == chosen | {"draft_tokens": 0}
    assert chosen["draft_tokens"] == "auto"
    assert (chosen["think"], chosen["thinking_budget"], chosen["quantize"]) == (False, None, None)
