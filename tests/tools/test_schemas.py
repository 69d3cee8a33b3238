"""Any JSON Schema becomes one that the chat template can write."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_cli.tools.schemas import plain

TREE = {
    "type": "object",
    "properties": {
        "node": {"$ref": "#/$defs/Node", "description": "where"},
        "why": {"anyOf": [{"type": "null"}, {"type": "string"}], "title": "Why", "default": None},
        "kinds": {"type": ["array", "null"], "items": {"enum": ["a", "b", None]}},
        "anything": {},
    },
    "required": ["node", "gone"],
    "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}},
}


def test_references_alternatives_and_what_has_no_type_are_resolved():
    found = plain(TREE)
    node, why, kinds, anything = (found["properties"][name] for name in ("node", "why", "kinds", "anything"))
    assert found["required"] == ["node"]
    assert (node["type"], node["description"]) == ("object", "where")
    assert node["properties"]["next"]["properties"]["next"]["type"] == "object"
    assert why == {"type": "string", "nullable": True}
    assert kinds == {"type": "array", "nullable": True, "items": {"type": "string", "enum": ["a", "b"]}}
    assert anything == {"type": "string"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "items", "anyOf", "$ref", "enum", "required", "description", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def typed(schema: dict[str, Any]) -> bool:
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return isinstance(schema["type"], str) and all(map(typed, inner))


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.sampled_from(["type", "properties", "$ref", "anyOf", "required"]), json_values))
def test_whatever_a_server_declares_every_part_of_it_has_a_type(schema: dict[str, Any]):
    assert typed(plain(schema))
