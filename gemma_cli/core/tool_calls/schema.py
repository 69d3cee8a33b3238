"""The declared arguments of a tool, as far as they decide how a damaged call is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any] | None
"""A JSON schema; None if nothing is declared."""


def parameters(name: str, tools: Iterable[Mapping[str, Any]]) -> Schema:
    """Return the parameters of the tool called `name` in OpenAI function declarations; None if there is no such one."""
    for tool in tools:
        function = tool.get("function", {})
        if function.get("name") == name:
            return {"type": "object", **(function.get("parameters") or {})}
    return None


def of_property(schema: Schema, name: str) -> Schema:
    """Return what is declared of one property of an object."""
    return _declared(_mapping(schema, "properties").get(name))


def of_items(schema: Schema) -> Schema:
    """Return what is declared of the items of an array."""
    return _declared(schema.get("items")) if schema else None


def names(schema: Schema) -> frozenset[str]:
    """Return the names of all properties that a schema declares, at any depth."""
    return frozenset(_names(schema))


def conforms(value: Any, schema: Schema) -> bool:
    """Return whether a value fits its declaration. An object with declared properties has no others."""
    if not isinstance(schema, Mapping):
        return True
    if value is None:
        return bool(schema.get("nullable")) or "null" in _types(schema) or _fits_any(value, schema)
    choices = schema.get("enum")
    if isinstance(choices, list) and not any(value == one and type(value) is type(one) for one in choices):
        return False
    types = _types(schema)
    if types and not any(_is(value, name) for name in types):
        return False
    if isinstance(value, list):
        return all(conforms(item, of_items(schema)) for item in value)
    if isinstance(value, dict):
        return _object_conforms(value, schema)
    return bool(types) or "enum" in schema or _fits_any(value, schema)


def _object_conforms(value: dict[str, Any], schema: Mapping[str, Any]) -> bool:
    declared = _mapping(schema, "properties")
    if declared and not set(value) <= set(declared):
        return False
    if not set(schema.get("required") or ()) <= set(value):
        return False
    return all(conforms(item, of_property(schema, name)) for name, item in value.items())


def _fits_any(value: Any, schema: Mapping[str, Any]) -> bool:
    options = schema.get("anyOf") or schema.get("oneOf")
    return any(conforms(value, option) for option in options) if isinstance(options, list) else not _types(schema)


def _types(schema: Mapping[str, Any]) -> list[str]:
    named = schema.get("type")
    return [str(name).lower() for name in (named if isinstance(named, (list, tuple)) else [named]) if name]


def _is(value: Any, name: str) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match name:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return number and value == int(value)
        case "number":
            return number
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
    return False


def _declared(schema: Any) -> Schema:
    """A schema that says nothing of the type declares nothing."""
    if isinstance(schema, Mapping) and any(schema.get(key) for key in ("type", "enum", "anyOf", "oneOf")):
        return schema
    return None


def _mapping(schema: Schema, key: str) -> Mapping[str, Any]:
    found = schema.get(key) if schema else None
    return found if isinstance(found, Mapping) else {}


def _names(schema: Any, depth: int = 0) -> Iterator[str]:
    if not isinstance(schema, Mapping) or depth > 64:
        return
    for name, inner in _mapping(schema, "properties").items():
        yield str(name)
        yield from _names(inner, depth + 1)
    for inner in (schema.get("items"), *(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())):
        yield from _names(inner, depth + 1)
