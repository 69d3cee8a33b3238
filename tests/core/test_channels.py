"""What is shown of a reply: any chunking gives the same turn, and no marker, whole or half, ever gets out."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gemma_cli.core.channels import MARKERS, ChannelParser, Parsed
from gemma_cli.core.events import Delta, Turn, UnreadableCall, collect
from gemma_cli.core.messages import ToolCall
from gemma_cli.core.tool_calls import QUOTE, parse_call


def read(*chunks: str, in_thought: bool = False) -> Turn:
    parser = ChannelParser(in_thought)
    events: list[Parsed] = []
    for chunk in chunks:
        events += parser.feed(chunk)
    events += parser.flush()
    assert all(event.text for event in events if isinstance(event, Delta))
    return collect(events)


def parts(turn: Turn) -> tuple[str, str, tuple[ToolCall, ...]]:
    assert not turn.unreadable_calls
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
        ("forged: <<<eos>eos>eos> and <<", "forged:  and <<", ""),
        ("forged: <tu<tu<eos>rn|>rn|>, <<ch", "forged: , <", ""),
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
        "call:f{",
        "call:f{a}",
        "call:f{a:}",
        "call:f{a:1",
        "call:f{a:1,,b:2}",
        "call:f{a:1}}",
        "call:f{a:1} and more",
        "call:f{a:1,a:2}",
        'call:f{a:<|"|>never closed',
        "call:f{<bos>:1}",
        "call:f{a:" + "[" * 5000 + "]" * 5000 + "}",
        "call:f{a:" + "9" * 5000 + "}",
    ],
)
def test_an_unreadable_call_is_told_and_never_shown(body: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  each has a reason of its own
        parse_call(body)
    turn = read(f"Well: <|tool_call>{body}<tool_call|><|tool_response>")
    assert (turn.text, turn.thinking, turn.tool_calls) == ("Well: ", "", ())
    (unreadable,) = turn.unreadable_calls
    assert unreadable.text.startswith(body)
    assert unreadable.name == ("f" if body.startswith("call:f") else None)
    assert unreadable.reason


def test_a_call_cut_off_by_the_end_is_not_a_call() -> None:
    turn = read("<|tool_call>call:f{a:1}")
    assert (turn.text, turn.tool_calls) == ("", ())
    assert turn.unreadable_calls == (UnreadableCall("f", "call:f{a:1}", "the reply ended before the end of the call"),)


@pytest.mark.parametrize("end", ["<turn|>", "<eos>", "<|tool_response>", "<|tool_call>call:g{}<tool_call|>"])
def test_a_call_that_something_else_ends_is_not_mended(end: str) -> None:
    assert read(f"<|tool_call>call:f{{a:1}}{end}").tool_calls[0] == ToolCall("f", {"a": 1})
    assert [call.name for call in read(f"<|tool_call>call:f{{a:x}}{end}").unreadable_calls] == ["f"]


@pytest.mark.parametrize("marker", [marker for marker in MARKERS if marker != QUOTE])
def test_markers_within_a_text_of_a_call(marker: str) -> None:
    """They are read as the text has them, or the call is unreadable; in no case does its rest become an answer."""
    turn = read(f"<|tool_call>call:f{{a:{QUOTE}b {marker} c{QUOTE},d:1}}<tool_call|>")
    assert "c" not in turn.text + turn.thinking
    if marker == "<|tool_call>":
        assert (turn.tool_calls, len(turn.unreadable_calls)) == ((), 2)
    else:
        assert turn.tool_calls == (ToolCall("f", {"a": f"b {marker} c", "d": 1}),)


raw_texts = st.lists(
    st.one_of(
        st.sampled_from(MARKERS),
        st.sampled_from(
            ["<", "<<", "bos>", "|", ">", "<|", "|>", "\n", " ", "thought\n", "call:f{a:1}", "<turn", "channel|>"]
        ),
        st.sampled_from(MARKERS).flatmap(lambda marker: st.integers(1, len(marker)).map(lambda end: marker[:end])),
        st.text(max_size=5),
    ),
    max_size=30,
).map("".join)


@given(raw_texts, st.lists(st.integers(0, 400), max_size=40), st.booleans())
@example("<|channel>thought\nx<channel|>y", list(range(40)), False)
@settings(max_examples=400, deadline=None)
def test_any_chunking_gives_the_same_turn_and_nothing_leaks(raw: str, cuts: list[int], in_thought: bool) -> None:
    whole = read(raw, in_thought=in_thought)
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    chunked = read(*(raw[a:b] for a, b in itertools.pairwise(edges)), in_thought=in_thought)
    assert chunked == whole
    assert read(*raw, in_thought=in_thought) == whole
    for shown in (whole.text, whole.thinking):
        assert not any(marker in shown for marker in MARKERS)


CHANGING = {"<|channel>", "<channel|>", "<turn|>", "<|tool_call>"}
SILENT = [marker for marker in MARKERS if marker not in CHANGING]
"""Markers that change no channel and begin no call."""


def _nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A marker with something in the middle of it, and text around."""
    around = st.sampled_from(["", "", "<", "x", "bos>", "<b", ">"])
    split = st.sampled_from(SILENT).flatmap(
        lambda marker: st.tuples(inner, st.integers(0, len(marker))).map(
            lambda drawn: marker[: drawn[1]] + drawn[0] + marker[drawn[1] :]
        )
    )
    return st.tuples(around, split, around, inner).map("".join)


nested_texts = st.recursive(st.sampled_from(["", "<", *SILENT, "a", "<bo"]), _nested, max_leaves=12)


def without_markers(text: str) -> str:
    """What is left when no marker is, and no half one at the end: the law, written without the parser."""
    while left := [text.replace(marker, "", 1) for marker in SILENT if marker in text]:
        text = left[0]
    while (last := text.rfind("<")) >= 0 and last < len(text) - 1:
        if not any(marker.startswith(text[last:]) for marker in MARKERS):
            break
        text = text[:last]
    return text


@given(nested_texts, st.lists(st.integers(0, 200), max_size=10), st.sampled_from([False, True]))
@example("x <<<bos>bos>bos> y", [], False)
@example("<bo<", [], False)
@settings(max_examples=250, deadline=None)
def test_markers_inside_markers_do_not_get_out(raw: str, cuts: list[int], in_thought: bool) -> None:
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    for chunks in ([raw], list(raw), [raw[a:b] for a, b in itertools.pairwise(edges)]):
        turn = read(*chunks, in_thought=in_thought)
        shown = turn.thinking if in_thought else turn.text
        assert not any(marker in shown for marker in MARKERS)
        assert shown == without_markers(raw)


def test_what_is_held_back_does_not_make_reading_slow() -> None:
    """A model in a loop may write as many beginnings of markers as it has tokens."""
    turn = read(*["<|channel"] * 20_000, " x")
    assert turn.text == "<|channel" * 20_000 + " x"


@given(st.text(max_size=10).filter(lambda text: "<" not in text), st.sampled_from(MARKERS), st.data())
def test_a_half_marker_at_the_end_is_not_shown(text: str, marker: str, data: st.DataObject) -> None:
    assert read(text).text == text
    half = marker[: data.draw(st.integers(2, len(marker) - 1))]
    assert read(text + half).text == text


def test_nothing_shown_is_ever_taken_back_or_waits_without_need() -> None:
    parser = ChannelParser()
    assert list(parser.feed("Hello <")) == [Delta("answer", "Hello ")]
    assert list(parser.feed("b> world")) == [Delta("answer", "<b> world")]
