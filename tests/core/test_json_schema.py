"""JSON schemas that replies are held to: what is wrong with one is told in one line, with its place."""

import json

import pytest

from gemma_cli.core import json_schema
from gemma_cli.core.errors import InputError, UsageError
from gemma_cli.core.json_schema import checked, grammar

DEEP = 3000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON: Expecting value at line 1, column 1"),
        ('{"type": "object",\n "properties": }', "line 2, column 16"),
        ('{"const": NaN}', "NaN is not a JSON number"),
        ("[" * 100_000, "nested too deeply"),
        ('{"items":' * DEEP + "{}" + "}" * DEEP, "nested too deeply"),
        ("3", "it is a number; a schema is an object or true"),
        ("[]", "it is an array;"),
        ("null", "it is null;"),
        ("false", "it is false, which no value fits;"),
        ('{"if": {}, "then": {}}', "keys that are not supported: if, then; leave them out"),
        (
            '{"oneOf": [{"type": "string"}, {"minLength": 2}]}',
            "oneOf with choices that overlap is not supported; use anyOf",
        ),
        ('{"type": "strng"}', "at the top level: Invalid type: strng"),
        ('{"properties": {"a/b": {"items": {"type": 3}}}}', "/properties/a~1b/items: "),
        ('{"anyOf": [{"type": "null"}, {"pattern": "(["}]}', "/anyOf/1: regex parse error"),
        ('{"$defs": {"x": {"minLength": "3"}}, "$ref": "#/$defs/x"}', "/$defs/x: Expected positive integer"),
        ('{"properties": {"a": {"not": {}}}}', "/properties/a: keys that are not supported: not; leave them out"),
        (
            '{"properties": {"a": {"$ref": "file:///etc/passwd"}}}',
            "/properties/a: file:///etc/passwd is outside the file, and no $ref is fetched; copy it into $defs",
        ),
        ('{"properties": {"a": {"$ref": "#/$defs/nope"}}}', "does not exist"),
        ('{"const": "\\ud800"}', "at the top level: unexpected end of hex escape"),
        ('{"enum": []}', "Unsatisfiable"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_place(text: str, words: str):
    with pytest.raises(InputError) as told:
        checked(text, "schema.json")
    message = str(told.value)
    assert message.startswith("schema.json: ")
    assert words in message
    assert "\n" not in message
    assert len(message) < 400


def test_what_is_right_stays_what_it_is():
    for schema in ({}, {"type": "integer"}, {"$ref": "#"}, {"x-guidance": {"whitespace_flexible": True}}):
        text = checked(json.dumps(schema, indent=2), "schema.json")
        assert json.loads(text) == schema
        assert "\n" not in text
        assert grammar(text)


def test_a_schema_that_is_true_takes_any_value():
    assert checked("true", "schema.json") == "{}"


def test_without_llguidance_a_schema_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_schema, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"s\.json: .*pip install 'gemma-cli\[schema\]'"):
        checked("{}", "s.json")
