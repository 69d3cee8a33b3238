"""Prompts for timing a model.

How much a drafter helps depends on how predictable the text is, so the standard suite goes from code to free prose, in
the categories vLLM's speculative benchmarks use, with a summary that quotes. Pocket is asked what it can answer at
length; elsewhere it would be timed on nonsense.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from gemma_cli.core.errors import InputError
from gemma_cli.core.messages import Message
from gemma_cli.media.files import open_input

_MOST_BYTES = 16 << 20


@dataclass(frozen=True)
class Prompt:
    """history: turns of a chat that came before."""

    category: str
    text: str
    history: tuple[Message, ...] = ()


STANDARD = (
    Prompt(
        "code",
        "Write a Python class LRUCache with get and put in O(1), with type hints and a docstring for every method, "
        "followed by five pytest tests. Answer with code only.",
    ),
    Prompt(
        "prose",
        "Tell the story of a lighthouse keeper who finds a letter in a bottle. Make the sea a character of its own.",
    ),
    Prompt(
        "json",
        "Make up six employees of a bakery. Answer with a JSON array only; each object has the keys id, name, role, "
        "hourly_wage, languages (an array) and shifts (an array of objects with day, start and end).",
    ),
    Prompt(
        "translation",
        "Translate into German: The museum opens at ten in the morning and closes at six in the evening. On the first "
        "Sunday of every month entry is free, but the queue is long, so come early. Children under twelve must be "
        "accompanied by an adult, and large bags have to be left at the cloakroom. Photographs are allowed everywhere "
        "except in the room with the old manuscripts, where even a weak light would do harm.",
    ),
    Prompt(
        "summary",
        "Summarize this report in three sentences, and quote the two that matter most word for word. The bridge over "
        "the Weser was closed on Monday after a lorry struck the northern pier. Engineers found cracks up to two "
        "metres long in the concrete, but the steel inside is undamaged. The city expects the repair to take five "
        "weeks and to cost 340,000 euros. Buses are diverted over the old toll bridge, which adds twelve minutes to "
        "each journey. Cyclists and pedestrians may cross again from Thursday. The driver, who was unhurt, said that "
        "he had followed his navigation system and had not seen the sign. The insurer of the haulage company has "
        "agreed to pay for the repair. A shopkeeper on the northern bank said that half of her customers stay away.",
    ),
    Prompt(
        "maths",
        "A tank holds 480 litres. One pipe fills it in 8 hours, another in 12 hours, and a drain empties it in 24. "
        "All three are open. How long until the tank is full? Show each step of the calculation.",
    ),
)

POCKET = (
    Prompt("counting", "Count from 1 to 40."),
    Prompt("spelling", "Spell the sentence: The yellow flower is in front of the beautiful house."),
    Prompt(
        "repeating",
        "Repeat: Anna sees the dog. The dog is behind the tree. Tom buys 7 red apples. It is cold in the garden.",
    ),
    Prompt("story", "Tell me a story about a horse with Emma, the white horse, bread and the park."),
    Prompt("list", "List ten numbers, one per line."),
)


def suite_for(model: str) -> tuple[Prompt, ...]:
    """The built-in prompts that suit a model, by the name the engine gives it."""
    return POCKET if model.startswith("pocket") else STANDARD


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """A JSONL file's prompts: one {"prompt": "...", "category": "..."} a line, category optional. Raises InputError."""
    with open_input(path) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise InputError(f"{path}: the file is larger than {_MOST_BYTES >> 20} MiB; split the file")
    lines = enumerate(content.splitlines(), start=1)
    prompts = tuple(_prompt(line, f"{path}:{number}") for number, line in lines if line.strip())
    if not prompts:
        raise InputError(f'{path}: the file has no prompts; write {{"prompt": "..."}} on each line')
    return prompts


def _prompt(line: bytes, where: str) -> Prompt:
    try:
        entry = json.loads(line)
    except ValueError:
        raise InputError(f'{where}: not JSON; each line must be {{"prompt": "..."}}') from None
    text = entry.get("prompt") if isinstance(entry, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise InputError(f'{where}: "prompt" is missing; each line must be {{"prompt": "..."}}')
    return Prompt(str(entry.get("category", "prompts")), text)
