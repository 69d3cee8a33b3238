"""The scripted engine keeps the rules that a real engine must: one Done, the same text however it is drafted."""

from collections.abc import Generator, Iterator
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.core.engine import stream_many
from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Delta, Done, Event, collect
from gemma_cli.core.messages import Drafting, Request, Sampling, ask
from gemma_cli.engines.scripted import Reply, ScriptedEngine


def request(draft_tokens: int = 0, max_tokens: int = 1000, thinking: bool = False) -> Request:
    return Request(
        ask("hello there"),
        sampling=Sampling(max_tokens=max_tokens),
        drafting=Drafting(draft_tokens),
        thinking=thinking,
    )


@given(st.text(), st.integers(0, 6), st.lists(st.integers(0, 6), min_size=1))
def test_says_its_text_whatever_is_drafted(text: str, draft_tokens: int, accepted: list[int]) -> None:
    engine = ScriptedEngine([Reply(text)], accepted=accepted)
    events = list(engine.stream(request(draft_tokens)))
    turn = collect(events)
    assert turn.text == text
    assert [isinstance(event, Done) for event in events].index(True) == len(events) - 1
    assert all(0 <= r.accepted <= r.drafted <= draft_tokens for r in turn.speculation.rounds)
    produced = turn.speculation.target_passes + turn.speculation.accepted
    assert turn.usage.completion_tokens == produced + (1 if turn.usage.completion_tokens else 0)


def test_ends_at_max_tokens() -> None:
    turn = collect(ScriptedEngine([Reply("one two three four")], accepted=[4]).stream(request(4, max_tokens=2)))
    assert (turn.text, turn.finish_reason, turn.usage.completion_tokens) == ("one two", "length", 2)


def test_thinks_only_when_asked() -> None:
    engine = ScriptedEngine([Reply("42", thinking="six times seven")])
    thoughtful = collect(engine.stream(request(thinking=True)))
    plain = collect(engine.stream(request()))
    assert (thoughtful.thinking, thoughtful.usage.thinking_tokens) == ("six times seven", 3)
    assert (plain.thinking, plain.text) == ("", "42")


def test_replies_in_turn_and_survives_being_closed() -> None:
    engine = ScriptedEngine([Reply("first reply"), Reply("second")])
    with closing(engine.stream(request())) as events:
        next(events)
    assert collect(engine.stream(request())).text == "second"
    assert collect(engine.stream(request())).text == "first reply"


def test_an_engine_that_answers_one_at_a_time_takes_many_requests_so() -> None:
    class Deaf(ScriptedEngine):
        def stream(self, request: Request) -> Generator[Event, None, None]:
            if request.thinking:
                raise InputError("no thoughts here")
            yield from super().stream(request)

    engine = Deaf([Reply("one"), Reply("two")])
    taken = []

    def asking() -> Iterator[Request]:
        for thinking in (False, True, False):
            taken.append(thinking)
            yield request(thinking=thinking)

    answers = stream_many(engine, asking())
    assert next(answers) == (0, Delta("answer", "one"))
    assert taken == [False], "taken before there was room for it"
    rest = list(answers)
    assert [index for index, _ in rest] == [0, 1, 2, 2]
    assert [str(event) for index, event in rest if index == 1] == ["no thoughts here"]
    assert (2, Delta("answer", "two")) in rest
