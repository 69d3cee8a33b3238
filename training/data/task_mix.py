"""What the model is asked in text, and in which proportions.

Each task draws an exchange: chat messages ending in the assistant's. The template renders them for training exactly as
it renders a prompt in use. With `held_out` a task draws from the one item in twelve that training never asks.
"""

import random

from training.data.dialogue import about, greeting, reading, readings, recall, story, tool, unknown
from training.data.drills import (
    count,
    digits,
    echo,
    listing,
    lookups,
    repeat,
    spell,
    spell_sentence,
    sums,
    translation,
    twice,
)
from training.data.exchange import Diet, Exchange

TASKS: Diet = {
    repeat: 5,
    echo: 1,
    lookups: 1,
    twice: 1,
    spell: 3,
    spell_sentence: 0.7,
    count: 3,
    listing: 1,
    digits: 3,
    sums: 8,
    translation: 9,
    about: 0.7,
    greeting: 0.6,
    unknown: 0.8,
    story: 0.4,
    recall: 2,
    reading: 1,
    readings: 1,
    tool: 1,
}
COPYING: Diet = {
    repeat: 6, echo: 2, lookups: 3, twice: 2, spell: 3, reading: 1, readings: 1, recall: 2, digits: 2, translation: 2,
}  # fmt: skip
"""The first diet: whatever is answered by looking back. Other tasks fail until that is learned."""

POLISH: Diet = {
    sums: 12, count: 8, spell: 3, spell_sentence: 2, lookups: 2, echo: 1, reading: 1, readings: 1.5, repeat: 3,
    translation: 4, digits: 1, recall: 1, listing: 0.8, story: 0.3, tool: 0.5, about: 0.4, greeting: 0.4, unknown: 0.4,
    twice: 0.3,
}  # fmt: skip
"""The last diet: what is learned slowest, and a little of everything so that nothing is forgotten."""

_SYSTEMS = ("You are a helpful assistant.", "Answer briefly.", "You are pocket.", "Be brief and friendly.")


def sample_exchange(rng: random.Random, diet: Diet = TASKS) -> Exchange:
    """A random exchange; one in fifteen carries a system message."""
    exchange = rng.choices(tuple(diet), tuple(diet.values()))[0](rng)
    if rng.random() < 0.07 and not exchange.tools:
        messages = [{"role": "system", "content": rng.choice(_SYSTEMS)}, *exchange.messages]
        return Exchange(exchange.kind, messages, exchange.thinking, exchange.tools)
    return exchange
