"""Conversion of any JSON Schema to one that Gemma 4's template can write.

The template writes type, description, enum, items, properties, required and nullable, and asks every parameter for a
type. What says no more than that (titles, defaults, references, alternatives) is resolved or left out here: the tool
itself checks what it is given, the declaration only tells the model what to give.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEEPEST = 16
"""Levels of nesting; a schema that refers to itself ends there."""


def plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a tool: an object whose properties each have a type."""
    found = _plain(schema, schema, 0)
    return found if found.get("type") == "object" else {"type": "object", "properties": {}}


def _plain(schema: Any, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return {"type": "object"}
    schema = _resolved(schema, root)
    written: dict[str, Any] = {"type": _type(schema)}
    if description := schema.get("description"):
        written["description"] = str(description)
    if _nullable(schema):
        written["nullable"] = True
    if isinstance(schema.get("enum"), list):
        written["enum"] = [value for value in schema["enum"] if value is not None]
    if written["type"] == "array":
        written["items"] = _plain(schema.get("items", {"type": "string"}), root, depth + 1)
    properties = schema.get("properties")
    if written["type"] == "object" and isinstance(properties, Mapping):
        written["properties"] = {str(name): _plain(value, root, depth + 1) for name, value in properties.items()}
        if required := [name for name in schema.get("required") or () if name in properties]:
            written["required"] = required
    return written


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the target of a reference, and the first of several alternatives that is not null; the words beside it
    stay."""
    for _ in range(DEEPEST):
        options = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if isinstance(reference := schema.get("$ref"), str):
            found: Any = root
            for step in reference.removeprefix("#").strip("/").split("/"):
                found = found.get(step, {}) if isinstance(found, Mapping) else {}
        elif isinstance(options, list):
            others = [option for option in options if isinstance(option, Mapping) and option.get("type") != "null"]
            found = {**(others[0] if others else {}), "nullable": len(others) < len(options)}
        else:
            break
        outer = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf", "oneOf", "allOf")}
        schema = {**(found if isinstance(found, Mapping) else {}), **outer}
    return schema


def _type(schema: Mapping[str, Any]) -> str:
    named = schema.get("type")
    if isinstance(named, list):
        named = next((name for name in named if name != "null"), None)
    if isinstance(named, str):
        return named
    if "enum" in schema or "const" in schema:
        return "string"
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _nullable(schema: Mapping[str, Any]) -> bool:
    named = schema.get("type")
    return bool(schema.get("nullable")) or (isinstance(named, list) and "null" in named)
