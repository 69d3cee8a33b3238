"""The target's own answers: what a drafter has to foresee is what the target says, not what would be right."""

import random
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import Gemma4ForConditionalGeneration, GenerationConfig

from training.data import task_mix
from training.stages.optim import DEVICE, save
from training.stages.packing import Encoder, Example
from training.tokenizer import render

COUNT = 1_536
BATCH = 64
LONGEST = 160
"""Tokens of an answer; a thought with its sum takes 90."""


def prompts(encoder: Encoder, rng: random.Random, count: int) -> list[tuple[str, list[int]]]:
    """Kinds and token ids of questions in text, each up to where the model speaks."""
    asked = []
    for _ in range(count):
        exchange = task_mix.sample_exchange(rng)
        text = render(
            exchange.messages[:-1],
            tools=exchange.tools or None,
            enable_thinking=exchange.thinking,
            add_generation_prompt=True,
        )
        asked.append((exchange.kind, encoder.tokens(text)))
    return asked


@torch.no_grad()
def answered(
    target: Gemma4ForConditionalGeneration, encoder: Encoder, batch: list[tuple[str, list[int]]], sample: bool
) -> Iterator[Example]:
    """Let the target answer a batch of prompts: greedily, or with `sample` at temperature 1."""
    pad, stops = encoder.ids["<pad>"], [encoder.ids["<turn|>"], encoder.ids["<eos>"], encoder.ids["<|tool_response>"]]
    longest = max(len(ids) for _, ids in batch)
    ids = torch.tensor([[pad] * (longest - len(ids)) + ids for _, ids in batch], device=DEVICE)
    options = GenerationConfig(
        do_sample=sample, top_k=64 if sample else None, top_p=0.95 if sample else None,
        max_new_tokens=LONGEST, eos_token_id=stops, pad_token_id=pad,
    )  # fmt: skip
    output = target.generate(input_ids=ids, attention_mask=ids != pad, generation_config=options)
    for (kind, prompt), said in zip(batch, output[:, longest:].tolist(), strict=True):
        end = next((at + 1 for at, token in enumerate(said) if token in stops), len(said))
        yield Example(kind, prompt + said[:end], [False] * len(prompt) + [True] * end)


def answers(runs: Path, target: Gemma4ForConditionalGeneration, encoder: Encoder) -> list[Example]:
    """COUNT answers, half of them greedy and half at temperature 1, kept in the run's folder."""
    path = runs / "own.pt"
    if not path.exists():
        asked = prompts(encoder, random.Random("own answers"), COUNT)
        asked.sort(key=lambda item: len(item[1]))  # like lengths together: less padding
        made: list[Example] = []
        for number, start in enumerate(range(0, COUNT, BATCH)):
            made += answered(target, encoder, asked[start : start + BATCH], sample=number % 2 == 1)
        save(path, {"examples": [(example.kind, example.ids, example.wanted) for example in made]})
    return [Example(*fields) for fields in torch.load(path, weights_only=True)["examples"]]
