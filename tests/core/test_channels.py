"""What is shown of a reply: any chunking gives the same turn, and no marker, whole or half, ever gets out."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gemma_cli.core.channels import MARKERS, QUOTE, ChannelParser, parse_call
from gemma_cli.core.events import Delta, ToolCalled, Turn, collect
from gemma_cli.core.messages import ToolCall


def read(*chunks: str, in_thought: bool = False) -> Turn:
    parser = ChannelParser(in_thought)
    events: list[Delta | ToolCalled] = []
    for chunk in chunks:
        events += parser.feed(chunk)
    events += parser.flush()
    assert all(event.text for event in events if isinstance(event, Delta))
    return collect(events)


def parts(turn: Turn) -> tuple[str, str, tuple[ToolCall, ...]]:
    return turn.text, turn.thinking, turn.tool_calls


@pytest.mark.parametrize(
    ("raw", "answer", "thinking"),
    [
        ("Hello.<turn|>", "Hello.", ""),
        ("<|channel>thought\nHm.\n<channel|>Yes.<turn|>", "Yes.", "Hm."),
        ("<|channel>thought\n<channel|>Yes.", "Yes.", ""),
        ("<|channel>thought\n \n<channel|>Yes.", "Yes.", ""),
        ("<|channel>thought\nTwo\n\nlines \n<channel|>\nYes.", "\nYes.", "Two\n\nlines"),
        ("<|channel>commentary\nWho knows.<channel|>Yes.", "Yes.", "Who knows."),
        ("A<|channel>thought\nB<channel|>C<|channel>thought\nD<channel|>E", "ACE", "BD"),
        ("<|channel>thought\nnever closed", "", "never closed"),
        ("<|channel>thought", "", ""),
        ("1 < 2 and <b>bold</b>", "1 < 2 and <b>bold</b>", ""),
        ("less: <", "less: <", ""),
        ("less: <<turn|>", "less: <", ""),
        ("cut off: <|chan", "cut off: ", ""),
        ("Hello<eos>", "Hello", ""),
        ("Hello<|tool_response>", "Hello", ""),
        ("forged: <tu<eos>rn|>", "forged: ", ""),
        ("forged: <<eos>turn|>", "forged: ", ""),
        ("", "", ""),
    ],
)
def test_reads(raw: str, answer: str, thinking: str) -> None:
    assert parts(read(raw)) == (answer, thinking, ())


def test_starts_inside_a_thought_when_told() -> None:
    assert parts(read("So it is 4.<channel|>4<turn|>", in_thought=True)) == ("4", "So it is 4.", ())


def test_tool_calls() -> None:
    turn = read(
        '<|channel>thought\nLook it up.<channel|><|tool_call>call:weather.get{city:<|"|>Köln, {NRW}<|"|>,days:3}'
        "<tool_call|><|tool_call>call:now{}<tool_call|><|tool_response>"
    )
    calls = (ToolCall("weather.get", {"city": "Köln, {NRW}", "days": 3}), ToolCall("now", {}))
    assert parts(turn) == ("", "Look it up.", calls)


@pytest.mark.parametrize(
    ("body", "arguments"),
    [
        ("call:f{}", {}),
        ('call:f{a:<|"|><|"|>}', {"a": ""}),
        (
            "call:f{a:1,b:-2.5,c:1e3,d:true,e:false,f:null}",
            {"a": 1, "b": -2.5, "c": 1e3, "d": True, "e": False, "f": None},
        ),
        ('call:f{a:[1,<|"|>x<|"|>,[true]],b:{c:{d:<|"|>y<|"|>}}}', {"a": [1, "x", [True]], "b": {"c": {"d": "y"}}}),
        ('call:f{<|"|>a key<|"|>:1}', {"a key": 1}),
        (" call:f { a : 1 , b : [ ] } ", {"a": 1, "b": []}),
        ('call:f{unit:celsius,text:"plain quotes"}', {"unit": "celsius", "text": "plain quotes"}),
        ("call:f{a:007}", {"a": 7}),
    ],
)
def test_arguments(body: str, arguments: dict[str, object]) -> None:
    assert parse_call(body).arguments == arguments


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "call:{}",
        "call:f",
        "call:f{",
        "call:f{a}",
        "call:f{a:}",
        "call:f{a:1",
        "call:f{a:1,,b:2}",
        "call:f{a:1}}",
        "call:f{a:1} and more",
        "call:f{a:1,a:2}",
        'call:f{a:<|"|>never closed}',
        "call:f{a:" + "[" * 5000 + "]" * 5000 + "}",
        "call:f{a:" + "9" * 5000 + "}",
    ],
)
def test_a_malformed_call_is_shown_as_text_without_markers(body: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the message is for nobody: the text is shown
        parse_call(body)
    turn = read(f"Well: <|tool_call>{body}<tool_call|>")
    assert parts(turn) == ("Well: " + body.replace(QUOTE, '"'), "", ())


def test_a_call_cut_off_by_the_end_is_not_a_call() -> None:
    assert parts(read("<|tool_call>call:f{a:1}")) == ("call:f{a:1}", "", ())


raw_texts = st.lists(
    st.one_of(
        st.sampled_from(MARKERS),
        st.sampled_from(["<", "|", ">", "<|", "|>", "\n", " ", "thought\n", "call:f{a:1}", "<turn", "channel|>"]),
        st.sampled_from(MARKERS).flatmap(lambda marker: st.integers(1, len(marker)).map(lambda end: marker[:end])),
        st.text(max_size=5),
    ),
    max_size=30,
).map("".join)


@given(raw_texts, st.lists(st.integers(0, 400), max_size=40), st.booleans())
@example("<|channel>thought\nx<channel|>y", list(range(40)), False)
@settings(max_examples=1000, deadline=None)
def test_any_chunking_gives_the_same_turn_and_nothing_leaks(raw: str, cuts: list[int], in_thought: bool) -> None:
    whole = read(raw, in_thought=in_thought)
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    chunked = read(*(raw[a:b] for a, b in itertools.pairwise(edges)), in_thought=in_thought)
    assert parts(chunked) == parts(whole)
    assert parts(read(*raw, in_thought=in_thought)) == parts(whole)
    for shown in (whole.text, whole.thinking):
        assert not any(marker in shown for marker in MARKERS)


@given(st.text(max_size=10).filter(lambda text: "<" not in text), st.sampled_from(MARKERS), st.data())
def test_a_half_marker_at_the_end_is_not_shown(text: str, marker: str, data: st.DataObject) -> None:
    assert read(text).text == text
    half = marker[: data.draw(st.integers(2, len(marker) - 1))]
    assert read(text + half).text == text


def test_nothing_shown_is_ever_taken_back_or_waits_without_need() -> None:
    parser = ChannelParser()
    assert list(parser.feed("Hello <")) == [Delta("answer", "Hello ")]
    assert list(parser.feed("b> world")) == [Delta("answer", "<b> world")]


plain = st.text(st.characters(blacklist_characters="<>|", blacklist_categories=("Cs",)), min_size=1, max_size=8)
values = st.recursive(
    st.one_of(plain, st.integers(-(10**9), 10**9), st.booleans(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_-]*", fullmatch=True), inner, max_size=3),
    ),
    max_leaves=8,
)


def written(value: object) -> str:
    """Gemma 4's own notation, written independently of the parser."""
    match value:
        case str():
            return f"{QUOTE}{value}{QUOTE}"
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case dict():
            return "{" + ",".join(f"{key}:{written(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ",".join(map(written, value)) + "]"
    return str(value)


@given(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]*", fullmatch=True),
    st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_-]*", fullmatch=True), values, max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_calls_come_back_as_written(name: str, arguments: dict[str, object]) -> None:
    turn = read(f"<|tool_call>call:{name}{written(arguments)}<tool_call|>")
    assert parts(turn) == ("", "", (ToolCall(name, arguments),))
