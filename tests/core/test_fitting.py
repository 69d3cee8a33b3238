"""What fits is counted, not guessed, where the engine can count; a chat is shortened before a message is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.core.conversation import Conversation
from gemma_cli.core.engine import Engine, EngineSpec
from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Turn
from gemma_cli.core.fitting import Space, fits, fitted, space
from gemma_cli.core.messages import Drafting, Sampling
from gemma_cli.engines import open_engine

SAMPLING = Sampling(max_tokens=64)


@pytest.fixture(scope="module")
def pocket() -> Engine:
    return open_engine(EngineSpec(model="pocket", device="cpu", dtype="float32"))


def chat(*texts: str, system: str = "") -> Conversation:
    conversation = Conversation(system=system)
    for text in texts[:-1]:
        conversation = conversation.saying(text).hearing(Turn(text=text, finish_reason="stop"), "m")
    return conversation.saying(texts[-1])


TEXTS = st.sampled_from(["7" * 300, "word " * 60, "灯是蓝色的。" * 20, "🎈" * 40, "\u0378\ufffe" * 30, "x"])


@given(texts=st.lists(TEXTS, min_size=1, max_size=9), context=st.integers(300, 2400))
def test_a_chat_fits_exactly_when_its_prompt_does(pocket: Engine, texts: list[str], context: int) -> None:
    there = Space(context, 64, space(pocket, SAMPLING, thinking=False).count)
    asked = chat(*texts)
    assert fits(asked, there) == (tokens(pocket, asked) <= there.room)
    try:
        shown = fitted(asked, there)
    except InputError:
        assert tokens(pocket, chat(texts[-1])) > there.room, "refused although the message fits on its own"
        return
    assert tokens(pocket, shown) <= there.room
    assert shown.entries == asked.entries


def tokens(engine: Engine, conversation: Conversation) -> int:
    """As the engine itself counts them when it answers."""
    request = conversation.request(SAMPLING, Drafting(), False)
    return len(engine.writer._written(request, engine.towers.count)[0])  # type: ignore[attr-defined]


def test_the_count_is_that_of_the_reply(pocket: Engine) -> None:
    request = chat("3141592653589793", "And 2718281828?", system="Be brief.").request(SAMPLING, Drafting(), True)
    events = list(pocket.stream(request))
    assert pocket.prompt_tokens(request) == events[-1].usage.prompt_tokens  # type: ignore[attr-defined]


def test_a_chat_of_digits_is_shortened_where_estimates_would_overflow(pocket: Engine) -> None:
    there = space(pocket, SAMPLING, thinking=False)
    digits = "0123456789" * (there.room // 25)
    asked = chat(*[digits] * 4)
    assert asked.size() < there.room < tokens(pocket, asked), "three bytes a token would let it through"
    shown = fitted(asked, there)
    assert shown.left_out > 0
    assert tokens(pocket, shown) <= there.room * 3 // 4


def test_a_refusal_says_what_the_room_is_made_of(pocket: Engine) -> None:
    there = space(pocket, SAMPLING, thinking=False)
    asked = chat("9" * there.context, system="Be brief.")
    with pytest.raises(InputError) as raised:
        fitted(asked, there)
    needed = tokens(pocket, asked)
    assert str(raised.value) == (
        f"the message is too long: {needed:,} tokens with the system prompt, but only {there.room:,} fit (the "
        f"context of {there.context:,} minus {there.reserve:,} for the reply); shorten the message, "
        "attach less, or lower max-tokens"
    )


def test_a_short_chat_is_not_counted() -> None:
    def never(_conversation: Conversation) -> int:
        raise AssertionError

    assert all(fits(chat("x" * size), Space(8192, 1024, never)) for size in (1, 100, 300))
