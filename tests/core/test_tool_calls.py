"""What is read of a tool call: Gemma's own notation as it was meant, a damaged call as it was meant or not at all."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_cli.core.tool_calls import QUOTE, Unreadable, called_name, parse_call
from gemma_cli.core.tool_calls.schema import conforms
from tests.soak.hostile import tool_calls as soak
from tests.soak.hostile.tool_calls import (
    DAMAGES,
    PARAMETER,
    PIECES,
    declared,
    inner_quotes,
    restyled,
    same,
    tokens,
    written,
)

STRING, INTEGER = {"type": "string"}, {"type": "integer"}
TEXTS = {"type": "array", "items": STRING}
OPEN = {"type": "object", "properties": {"command": STRING, "angle": INTEGER, "refs": TEXTS, "file path": STRING}}
"""All parameters may be left out, so a call is not clear only because one of them would be missing."""


# --- Laws -----------------------------------------------------------------------------------------------------------


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that conform to a schema."""
    match schema.get("type"):
        case "string":
            return st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=6).filter(encodable)
        case "integer":
            return st.integers(-(10**18), 10**18)
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False) | st.integers(-99, 99)
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(values(schema.get("items", {})), max_size=3)
        case "object" if "properties" in schema:
            fields = {name: values(inner) for name, inner in schema["properties"].items()}
            required = schema.get("required", ())
            optional = {name: inner for name, inner in fields.items() if name not in required}
            return st.fixed_dictionaries({name: fields[name] for name in required}, optional=optional)
        case "object":
            return st.dictionaries(st.sampled_from(soak.NAMES), values({}), max_size=3)
    scalars = [values({"type": kind}) for kind in ("string", "integer", "number", "boolean")]
    return st.recursive(
        st.none() | st.one_of(scalars),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(soak.NAMES), inner, max_size=3),
        max_leaves=4,
    )


def encodable(text: str) -> bool:
    return QUOTE not in text and not any("\ud800" <= character <= "\udfff" for character in text)


NESTED = {"type": "object", "properties": {"a": STRING, "b": {"type": "array", "items": INTEGER}}, "required": ["a"]}
SCHEMAS = [
    {"type": "object", "properties": {"a": STRING, "b": STRING, "city": STRING, "to": {"type": "number"}}},
    {"type": "object", "properties": {"a": STRING, "e5": TEXTS, "b": {"type": "boolean"}}, "required": ["a", "b"]},
    {"type": "object", "properties": {"city": NESTED, "b": {"type": "array", "items": NESTED}, "to": INTEGER}},
    {"type": "object", "properties": {"a": {"type": "object"}, "b": {"type": "array"}, "file path": STRING}},
]
CALLS = st.one_of([st.tuples(st.just(schema), values(schema)) for schema in SCHEMAS])


@given(CALLS, st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_gemmas_own_notation_and_other_notations_are_read_as_they_were_meant(call: tuple[Any, Any], seed: int):
    schema, arguments = call
    assert conforms(arguments, schema)
    for tools in (declared(schema), []):
        assert same(parse_call(written(tokens(arguments)), tools, repair=False).arguments, arguments)
    assert same(parse_call(restyled(random.Random(seed), tokens(arguments)), declared(schema)).arguments, arguments)


@given(CALLS, st.sampled_from(DAMAGES), st.integers(0, 2**32))
@settings(max_examples=120, deadline=None)
def test_a_damaged_call_is_read_as_it_was_meant_or_not_at_all(call: tuple[Any, Any], damage: soak.Damage, seed: int):
    """For what cannot be told from something else, and is left out here, see the soak trial of the same name."""
    schema, arguments = call
    tools, parts = declared(schema), tokens(arguments)
    damaged = damage(random.Random(seed), parts)
    if damaged is None or any(PARAMETER.search(part.text) for part in parts if part.kind == "text"):
        return
    if damage is inner_quotes and soak.still_correct(damaged, tools):
        return
    try:
        found = parse_call(written(damaged), tools).arguments
    except Unreadable:
        return
    assert same(found, arguments)


def test_random_calls_of_random_tools():
    outcome = soak.trial(0.01)
    assert (outcome.tried, outcome.failures) == (200, [])


# --- What models write ----------------------------------------------------------------------------------------------


def read(arguments: str, schema: dict[str, Any] | None = OPEN) -> Any:
    """The arguments of a call in which ~ stands for the string marker; None if it is unreadable."""
    try:
        return parse_call(f"call:f{arguments.replace('~', QUOTE)}", declared(schema) if schema else ()).arguments
    except Unreadable:
        return None


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("{command:~sql(~~~ SELECT 1 ~~~).df()~,refs:[~a~]}", {"command": 'sql(""" SELECT 1 """).df()', "refs": ["a"]}),
        ("{command:~print(~a~, end=~~)~,file path:~x~}", {"command": 'print("a", end="")', "file path": "x"}),
        ("{command:~echo ~hi~ there~}", {"command": 'echo "hi" there'}),
        ('{command:"echo "hi" there"}', {"command": 'echo "hi" there'}),
        ("{command:~look~angle:90}", {"command": "look", "angle": 90}),
        ("{command:~look~ file path:~x~}", {"command": "look", "file path": "x"}),
        ("{angle:90 command:~look~}", {"angle": 90, "command": "look"}),
        ("{angle:90command:~look~}", {"angle": 90, "command": "look"}),
        ("{command:~look,file path:~x~}", {"command": "look", "file path": "x"}),
        ("{angle:1,command:~look}", {"angle": 1, "command": "look"}),
        ("{command:~look, then go}", {"command": "look, then go"}),
        ("{command:weather in Tokyo~}", {"command": "weather in Tokyo"}),
        ("{command:Paris, France~,angle:5}", {"command": "Paris, France", "angle": 5}),
        ("{command:weather in Tokyo}", {"command": "weather in Tokyo"}),
        ("{command:http://x.y/z?q}", {"command": "http://x.y/z?q"}),
        ("{command:12:30}", {"command": "12:30"}),
        ("{command=~x~,refs=[~a~]}", {"command": "x", "refs": ["a"]}),
        ("{command='x',refs=['a','it\\'s',\"b\"]}", {"command": "x", "refs": ["a", "it's", "b"]}),
        ("{command:'it's'}", {"command": "it's"}),
        ('{"command": "a\\n\\"b\\" \\u00e9 has } brace"}', {"command": 'a\n"b" é has } brace'}),
        ('{command:"\\d+\\.\\d"}', {"command": "\\d+\\.\\d"}),
        ("{command:~a\\nb~}", {"command": "a\\nb"}),
        ("{command:~x~,}", {"command": "x"}),
        ("{refs:[~a~,],}", {"refs": ["a"]}),
        ("{file path:~x~, angle : 3 }", {"file path": "x", "angle": 3}),
        ("(command=~ls -a~, angle=3)", {"command": "ls -a", "angle": 3}),
        (" command:~ls~, angle:3", {"command": "ls", "angle": 3}),
        ("", {}),
    ],
)  # fmt: skip
def test_what_has_one_meaning_is_read(arguments: str, meant: dict[str, Any]):
    assert read(arguments) == meant


@pytest.mark.parametrize(
    "arguments",
    [
        "{command:~look,angle:90}",  # where does the text end?
        "{refs:[~a~ ~b~]}",  # one text or two?
        "{command:look angle:90}",
        "{command:look, then go}",
        "{angle:1_000}",
        "{angle:1e400}",
        "{angle:celsius}",
        '{command:"\\d\\n"}',  # an escape, or a backslash?
        '{command:"\\ud800"}',
        "{command:~~look~}",
        "{command:~look~~}",
        "{command:~look~,,angle:1}",
        "{command:~look,,angle:1}",
        "{command~look~}",
        "{command:~look~,command:~go~}",
        "{command:~look~",
        "{command:~look~}}",
        "{:~look~}",
        "{refs:[~a~}",
        "{<bos>:1}",
        "{command:90angle:1,unknown:~x~}",
    ],
)
def test_what_has_none_or_several_is_not(arguments: str):
    assert read(arguments) is None


def test_what_a_tool_declares_decides():
    """The same words, for tools that need, know or take different things."""
    cut = "{command:~look,angle:90}"
    assert read(cut, {**OPEN, "required": ["angle"]}) == {"command": "look", "angle": 90}
    assert read(cut, {"type": "object", "properties": {"command": STRING}}) == {"command": "look,angle:90"}
    assert read("{angle:90}", {"type": "object", "properties": {"angle": {"enum": ["90"]}}}) == {"angle": 90}
    assert (
        read("{m:{a:b}}", {"type": "object", "properties": {"m": {"properties": {"a": INTEGER}, "type": "object"}}})
        is None
    )
    assert read("{a:celsius}", {"type": "object", "properties": {"a": {"type": "string", "enum": ["kelvin"]}}}) is None
    assert read("{a:celsius}", {"type": "object", "properties": {"a": {"anyOf": [INTEGER, STRING]}}}) == {
        "a": "celsius"
    }


def test_a_call_that_may_have_been_cut_off_is_not_mended():
    for arguments in ("{command:look}", "{command:~look}", "{command:~a~angle:1}", ""):
        with pytest.raises(Unreadable):
            parse_call(f"call:f{arguments.replace('~', QUOTE)}", declared(OPEN), repair=False)


@pytest.mark.parametrize("body", ["", "hello", "call:", "call:{}", "call:<x>{}", "call:f,a:1", "calls:f{}", "f{}"])
def test_what_names_no_tool_is_unreadable(body: str):
    with pytest.raises(Unreadable):
        parse_call(body)


def test_the_name_of_an_unreadable_call():
    assert (called_name("call:f{a:"), called_name("call: ns:f.g-h(x"), called_name("hello")) == ("f", "ns:f.g-h", None)


@pytest.mark.parametrize(
    "arguments",
    [
        "{command:~" + "x = {'a': \"b\", c:1},\n" * 5_000 + "~}",
        "{command:~" + "x = {'a': \"b\", c:1},\n" * 5_000 + "}",
        "{command:~" + "f(~x~, a)~b~, ~y~;\n" * 2_000 + "~",
        "{command:'" + "it's, a:'b', [" * 2_000,
        "{" + "a:1 " * 5_000,
        "{a:" + "[" * 50_000,
        "{a:" + "\\" * 50_000 + '"',
        '{a:"' + "\\" * 50_001 + '"}',
        "{a:" + "9" * 50_000 + "}",
        "{" + " " * 50_000 + "a" + " " * 50_000,
        "{a:" + "- " * 20_000 + "}",
        "{a:[" + "1 " * 20_000 + "x]}",
        "{a:[" + "true" * 20_000 + "x]}",
        "{" + "a b " * 20_000 + "}",
        "{a:[" + "1" * 4_000 + "x]}",
        "{a:[" + "1" * 4_000 + " x]}",
        "{command:~" + " " * 50_000 + "x",
        "{command:" + " " * 50_000 + "x~",
        "{" + " ".join(f"k{number}:1" for number in range(3_000)) + "}",
        "{" + " ".join(f"k{number}:~x~" for number in range(3_000)) + "}",
        "{a:[" + "'b' " * 2_000 + "]}",
    ],
)
def test_no_call_takes_long_to_read(arguments: str):
    began = time.process_time()
    read(arguments)
    assert time.process_time() - began < 2


def test_arguments_can_always_be_sent_and_saved():
    for number in ("1e999", "-1e999", "NaN", "Infinity", "9" * 5_000, "0.1", "-0"):
        found = read(f"{{a:{number}}}", None)
        json.dumps(found, allow_nan=False)
