"""An exchange: what is asked and answered in a chat, and which items are kept out of training."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from training.data import grammar, lexicon

Message = dict[str, Any]
"""A chat message, or the declaration of a tool, as chat templates take it."""


@dataclass(frozen=True)
class Exchange:
    """A conversation to learn. kind names the task; the last message is the assistant's answer."""

    kind: str
    messages: list[Message]
    thinking: bool = False
    tools: list[Message] = field(default_factory=list)

    @property
    def answer(self) -> str:
        content = self.messages[-1].get("content", "")
        assert isinstance(content, str)
        return content


class Task(Protocol):
    """Draws an exchange. held_out: from the items that training never asks."""

    __name__: str

    def __call__(self, rng: random.Random, held_out: bool = False) -> Exchange: ...


Diet = dict[Task, float]
"""Tasks, and how often each is drawn in relation to the others."""


def kept_back(key: str) -> bool:
    """Whether an item belongs to the one in twelve never seen in training."""
    return hashlib.sha256(key.encode()).digest()[1] % 12 == 0


def asked(kind: str, question: str, answer: str, thinking: bool = False) -> Exchange:
    """One question, one answer."""
    return Exchange(kind, [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], thinking)


def drawn(draw: Callable[[], str], held_out: bool, by_heart: Callable[[str], bool] = lambda _: False) -> str:
    """Draw until the item falls on the wanted side of the split; what has to be known by heart is never kept back."""
    while True:
        item = draw()
        if (kept_back(item) and not by_heart(item)) == held_out:
            return item


_SYLLABLES = (
    "ba",
    "do",
    "ki",
    "lu",
    "me",
    "na",
    "po",
    "ra",
    "si",
    "tu",
    "ven",
    "gor",
    "lim",
    "tas",
    "zed",
    "fo",
    "hu",
    "wi",
)


def some_word(rng: random.Random) -> str:
    """A word of the grammar in either language, or one that does not exist."""
    if rng.random() < 0.4:
        word = "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(1, 3)))
        return word.capitalize() if rng.random() < 0.3 else word
    return rng.choice(rng.choice(_WORDS))


_WORDS = (
    tuple(n.en for n in lexicon.THINGS + lexicon.ANIMALS + lexicon.PEOPLE),
    tuple(n.de for n in lexicon.THINGS + lexicon.ANIMALS + lexicon.PEOPLE),
    tuple(c.en for c in lexicon.COLOURS + lexicon.QUALITIES),
    tuple(f[0] for f in lexicon.FOOD) + lexicon.NAMES,
    ("hello", "morning", "garden", "kitchen", "school", "window", "number", "letter", "yellow", "question", "answer"),
)


def is_word(text: str) -> bool:
    """Whether this is a real word: one token whose letters can only be known by heart."""
    return any(text in words for words in _WORDS)


def some_passage(rng: random.Random) -> str:
    """Something to copy: a sentence, some words, some numbers, or a mixture."""
    kind = rng.random()
    if kind < 0.35:
        return grammar.sample_sentence(rng).written[rng.choice(("en", "en", "de", "fr", "es"))]
    if kind < 0.6:
        return " ".join(some_word(rng) for _ in range(rng.randint(1, 10)))
    if kind < 0.75:
        return " ".join(str(rng.randrange(10 ** rng.randint(1, 4))) for _ in range(rng.randint(1, 8)))
    if kind < 0.9:
        return " ".join(rng.choice((some_word(rng), str(rng.randrange(1000)))) for _ in range(rng.randint(2, 10)))
    return " ".join(grammar.sample_sentence(rng).written["en"] for _ in range(rng.randint(2, 4)))
