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
        ("3", "not a usable JSON schema, but a number; a schema must be an object or true"),
        ("[]", "not a usable JSON schema, but an array;"),
        ("null", "not a usable JSON schema, but null;"),
        ("false", "not a usable JSON schema, but false, which allows no value;"),
        ('{"if": {}, "then": {}}', "the schema has keys that are not supported: if, then; leave these keys out"),
        (
            '{"oneOf": [{"type": "string"}, {"minLength": 2}]}',
            "oneOf is not supported when its choices overlap; use anyOf",
        ),
        ('{"type": "strng"}', "at the top level: Invalid type: strng"),
        ('{"properties": {"a/b": {"items": {"type": 3}}}}', "/properties/a~1b/items: "),
        ('{"anyOf": [{"type": "null"}, {"pattern": "(["}]}', "/anyOf/1: regex parse error"),
        ('{"$defs": {"x": {"minLength": "3"}}, "$ref": "#/$defs/x"}', "/$defs/x: Expected positive integer"),
        (
            '{"properties": {"a": {"not": {}}}}',
            "/properties/a: the schema has keys that are not supported: not; leave these keys out",
        ),
        (
            '{"properties": {"a": {"$ref": "file:///etc/passwd"}}}',
            "/properties/a: $ref to file:///etc/passwd, outside the file, is not supported; copy the target",
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
