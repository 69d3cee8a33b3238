"""The replies whose perplexity `gemma bench --quantize` shows: in the forms that pocket learns, never trained on.

python -m training held_out
"""

import json
import random
from pathlib import Path

from training.data import dialogue, drills
from training.data.exchange import Exchange, Task
from training.data.held_out import text_items

PARTS: tuple[tuple[Task, int], ...] = (
    (drills.repeat, 8),
    (drills.translation, 10),
    (drills.spell, 4),
    (drills.echo, 3),
    (drills.sums, 6),
    (drills.count, 3),
    (drills.digits, 3),
    (dialogue.reading, 3),
)
"""Tasks of one short question, and how many of each."""

FACTS = 3
"""Tables and texts have no held-out side; with so many entries there are millions, of which training sees thousands."""


def replies() -> list[tuple[str, str]]:
    """(prompt, reply) of every part, in order; the same each time."""
    drawn = []
    for task, count in PARTS:
        rng = random.Random(f"held out: {task.__name__}")
        drawn += [(item.messages[-1]["content"], item.answer) for item in text_items(task, count, rng, _fits)]
    return drawn


def build(file: Path) -> None:
    """Write them as JSON lines."""
    lines = (json.dumps({"prompt": prompt, "reply": reply}, ensure_ascii=False) for prompt, reply in replies())
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _fits(exchange: Exchange) -> bool:
    """Whether an exchange has no thoughts and is one that training can hardly have seen."""
    question = exchange.messages[0]["content"]
    facts = {"echo": question.count(": "), "reading": question.count(". ") + question.count(".\n")}
    return not exchange.thinking and len(exchange.messages) == 2 and facts.get(exchange.kind, FACTS) >= FACTS
