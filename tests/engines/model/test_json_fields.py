"""The schema of every field: whatever stands in a file, it is used, or it is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_cli.engines.local.model.schema import config_schema
from gemma_cli.engines.local.model.schema.json_fields import (
    REQUIRED,
    FieldError,
    Flag,
    Integer,
    ListOf,
    Object,
    OneOf,
    TableOf,
    shown,
)

SCHEMAS = {
    name: rule for name, rule in vars(config_schema).items() if isinstance(rule, Object) and not name.startswith("_")
}
FIELDS = [(name, field) for name, rule in SCHEMAS.items() for field in rule.fields]

ODD: list[Any] = [
    *(0, -1, 1, 10**9, 10**40, 1e30, 1e-30, 0.5, float("nan"), float("inf"), float("-inf"), True, False, None),
    *("", "x", "x" * 10**5, "\ud800", [], {}, [[]], [None], {"a": 1}, [1] * 10**4, {"": {"": {}}}, [1, "2"]),
]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50) | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


def valid(rule: Object) -> dict[str, Any]:
    """The least that the rule accepts."""
    needed = {name: part for name, (part, default) in rule.fields.items() if default is REQUIRED}
    return {name: example(part) for name, part in needed.items()}


def example(rule: Any) -> Any:
    if isinstance(rule, Object):
        return valid(rule)
    if isinstance(rule, TableOf):
        return {"a": example(rule.rule)}
    return rule.choices[0] if isinstance(rule, OneOf) else rule.least


def refusal(rule: Object, given: dict[str, Any]) -> str | None:
    """The message of the FieldError, None where all fields are used."""
    try:
        assert rule.check(given).keys() == rule.fields.keys()
    except FieldError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_every_odd_value_of_every_field_is_used_or_refused_by_name(name: str, field: str) -> None:
    rule = SCHEMAS[name]
    for value in ODD:
        message = refusal(rule, valid(rule) | {field: value})
        assert message is None or (message.startswith(field) and len(message) < 200 and "\n" not in message)


@given(given_values=st.dictionaries(st.sampled_from(sorted({field for _, field in FIELDS})), values, max_size=5))
@settings(max_examples=50)
def test_what_was_read_once_is_read_the_same_again(given_values: dict[str, Any]) -> None:
    for rule in SCHEMAS.values():
        try:
            read = rule.check(valid(rule) | given_values)
        except FieldError:
            continue
        assert rule.check(read) == read


def test_defaults_follow_their_own_rules() -> None:
    for rule in SCHEMAS.values():
        for name, (part, default) in rule.fields.items():
            if default is not None and default is not REQUIRED:
                assert part.check(default, name) == default


def test_no_object_takes_anything_but_an_object() -> None:
    for rule in SCHEMAS.values():
        for value in (5, None, "x", [], True):
            with pytest.raises(FieldError, match="but an object is required"):
                rule.check(value, "vision_config")


def test_fields_that_are_not_known_are_dropped_or_refused() -> None:
    fields = {"a": (Integer(1, 2), 1)}
    assert Object(fields).check({"a": 2, "b": 3}) == {"a": 2}
    with pytest.raises(FieldError, match=r"layer\.b is 3, but gemma does not support this field"):
        Object(fields, closed=True).check({"a": 2, "b": 3}, "layer")


def test_null_is_the_default_unless_the_rule_names_it() -> None:
    rule = Object({"a": (Flag(), True), "b": (OneOf((None, "x")), "x")})
    assert rule.check({}) == {"a": True, "b": "x"}
    assert rule.check({"a": None, "b": None}) == {"a": True, "b": None}


def test_a_field_inside_is_named_by_its_path() -> None:
    rule = Object({"groups": (TableOf(Object({"sizes": (ListOf(Integer(1, 9), 0, 3), [])})), {})})
    with pytest.raises(
        FieldError, match=r"^groups\.first\.sizes\[1\] is 10, but a whole number from 1 to 9 is required$"
    ):
        rule.check({"groups": {"first": {"sizes": [1, 10]}}})
    with pytest.raises(FieldError, match=r"^groups\.a\\nb is 1, but an object is required$"):
        rule.check({"groups": {"a\nb": 1}})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (None, "null"),
        (1e30, "1e+30"),
        (float("nan"), "nan"),
        ([1, "a"], '[1, "a"]'),
        ([[1]], "a list of 1"),
        ({}, "an object"),
        ("a\nb", r'"a\nb"'),
    ],
)
def test_values_are_quoted_as_json_writes_them(value: Any, expected: str) -> None:
    assert shown(value) == expected
    assert "\n" not in shown(json.loads(json.dumps(value)))
