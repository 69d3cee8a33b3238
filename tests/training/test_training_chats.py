"""Long chats: what they teach, and where their tokens stand."""

import random

import pytest

from training import shapes
from training.data import long_chats, scenes, speech

LENGTH = 1_024


@pytest.fixture(scope="module")
def drawn():
    from pathlib import Path

    import torch

    from training import tokenizer
    from training.stages import packing

    encoder = packing.Encoder(tokenizer.load(Path(__file__).parents[2] / "gemma_cli" / "pocket" / "pocket"))
    rng = random.Random(5)
    pictures = [(scenes.sample_scene(rng), torch.zeros(64, 96)) for _ in range(4)]
    utterances = [(speech.sample_utterance(rng, code), torch.zeros(30, 144)) for code in ("en", "de", "fr", "es")]
    source = long_chats.Chats(encoder, rng, pictures, utterances, LENGTH)
    return encoder, [source.draw() for _ in range(30)]


def test_a_chat_fills_a_row_and_no_more(drawn) -> None:
    _, examples = drawn
    assert all(LENGTH // 2 < len(example.ids) <= LENGTH for example in examples)
    assert {medium for example in examples for medium, _ in example.media} == {"image", "audio"}


def test_positions_leap_forward_between_turns_and_stay_in_the_context(drawn) -> None:
    encoder, examples = drawn
    leaping = [example for example in examples if example.positions is not None]
    assert leaping
    for example in leaping:
        steps = [b - a for a, b in zip(example.positions, example.positions[1:], strict=False)]
        assert min(steps) == 1
        assert example.positions[-1] < shapes.CONTEXT
        leapt = {example.ids[at + 1] for at, step in enumerate(steps) if step > 1}
        assert leapt <= {encoder.ids["<|turn>"]}


def test_answers_are_taught_but_not_a_sum_whose_thought_is_gone(drawn) -> None:
    encoder, examples = drawn
    thinking = [example for example in examples if encoder.ids["<|think|>"] in example.ids]
    assert 0 < len(thinking) < len(examples)
    for example in examples:
        turns = list(zip(*_edges(encoder.wanted(example.ids)), strict=True))
        taught = list(example.answers())
        assert set(taught) <= set(turns)
        if example not in thinking:
            assert taught == turns
            continue
        *_, (first, last) = taught
        assert (first, last) == turns[-1]
        assert "So " in encoder.tokenizer.decode(example.ids[first:last]) or "*" in encoder.tokenizer.decode(
            example.ids[first:last]
        )


def _edges(wanted: list[bool]) -> tuple[list[int], list[int]]:
    starts = [at for at, now in enumerate(wanted) if now and not wanted[at - 1]]
    ends = [at + 1 for at, now in enumerate(wanted) if now and not (wanted[at + 1 : at + 2] or [False])[0]]
    return starts, ends
