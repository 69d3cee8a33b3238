"""JSON schemas a reply can be held to: read, checked, and made the grammar that llguidance follows.

A reply is one line: `{"key": value, "key": value}`, with the blanks that Python's json.dumps writes and no others. So
replies can be appended to a .jsonl file, and a model that is lost cannot go on with white space for ever.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gemma_cli.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

LAYOUT: JsonCompileOptions = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""Defaults of llguidance's compiler; a schema's own "x-guidance" comes before them."""

LONGEST_PLACE = 120


def checked(text: str, name: str) -> str:
    """`text`, a JSON schema out of the file `name`, on one line. Raises InputError naming the file and the place."""
    if find_spec("llguidance") is None:
        raise UsageError(
            f"{name}: JSON schemas need llguidance, which is not installed: pip install 'gemma-cli[schema]'"
        )
    try:
        schema = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        fault = error.msg.removesuffix(" at")
        raise InputError(f"{name}: not JSON: {fault} at line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{name}: not JSON: {reason}") from None
    schema = {} if schema is True else schema  # any value; llguidance takes true only inside a schema
    if not isinstance(schema, dict):
        raise InputError(f"{name}: not a usable JSON schema, but {_kind(schema)}; a schema must be an object or true")
    if fault := _fault(schema):
        place = _place(schema, fault)
        shown = place if len(place) <= LONGEST_PLACE else f"…{place[-LONGEST_PLACE:]}"
        raise InputError(f"{name}: not a usable JSON schema: {shown or 'at the top level'}: {_remedied(fault)}")
    return json.dumps(schema)


def grammar(schema: str) -> str:
    """llguidance's grammar of a checked schema."""
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(schema, defaults=LAYOUT)


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _fault(schema: Any) -> str:
    """Return the fault of a schema in one line; "" if it has none."""
    from llguidance import LLMatcher

    try:
        failed, said = LLMatcher.validate_grammar_with_warnings(grammar(json.dumps(schema)))
    except ValueError as error:
        failed, said = True, [str(error)]
    return " ".join(said[0].split()) if failed else ""


def _kind(value: Any) -> str:
    """Name what a JSON value is that can be no schema for replies."""
    if value is False:
        return "false, which allows no value"
    names = {list: "an array", str: "a string", type(None): "null"}
    return names.get(type(value), "a number")


def _remedied(fault: str) -> str:
    """Return a fault in llguidance's words with a remedy for those that people meet with valid schemas."""
    if found := re.fullmatch(r"Unimplemented keys: \[(.*)\]", fault):
        return f"the schema has keys that are not supported: {found[1].replace(chr(34), '')}; leave these keys out"
    if fault.startswith("oneOf constraints are not supported"):
        return "oneOf is not supported when its choices overlap; use anyOf"
    if found := re.match(r"Resource '(.*)' is not present", fault):
        return f"$ref to {found[1]}, outside the file, is not supported; copy the target of the $ref into $defs"
    return fault


def _place(schema: Any, fault: str) -> str:
    """The JSON pointer of the innermost schema that has the fault by itself; "" for the whole."""
    definitions = {key: schema[key] for key in ("$defs", "definitions") if isinstance(schema, dict) and key in schema}
    place, steps = "", _inner(schema)
    while found := next(((step, inner) for step, inner in steps if _fault(_with(definitions, inner)) == fault), None):
        place, steps = f"{place}/{found[0]}", _inner(found[1])
    return place


def _with(definitions: dict[str, Any], schema: Any) -> Any:
    """Return a schema that stands alone, except for its references."""
    return {**definitions, **schema} if isinstance(schema, dict) else schema


def _inner(schema: Any) -> Iterator[tuple[str, Any]]:
    """The schemas directly inside one, each with the way to it."""
    if not isinstance(schema, dict):
        return
    for key in ("properties", "patternProperties", "$defs", "definitions"):
        if isinstance(schema.get(key), dict):
            yield from ((f"{key}/{_escaped(name)}", inner) for name, inner in schema[key].items())
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if isinstance(schema.get(key), list):
            yield from ((f"{key}/{index}", inner) for index, inner in enumerate(schema[key]))
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield key, schema[key]


def _escaped(name: str) -> str:
    """RFC 6901."""
    return name.replace("~", "~0").replace("/", "~1")
