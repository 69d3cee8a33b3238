"""A checkpoint's chat template, rendered by jinja in a sandbox with the functions that transformers offers.

Templates come with checkpoints and are not trusted: they see plain JSON values, change nothing, and reach nothing of
Python's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import BuiltinMethodType
from typing import Any, Protocol

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

RULES_KEPT = 1024
"""Answers of the sandbox that are remembered. A template asks for a few dozen attributes."""

_OWN = frozenset({str, list, dict, tuple})

_PLAIN = _OWN | {bool, int, float, type(None)}
"""A function that is not a method, so that it cannot be `str.format`, which the sandbox replaces."""


class Template(Protocol):
    """A renderer of conversations. literals: every text that the template itself may write."""

    literals: frozenset[str]

    def render(self, messages: Sequence[Any], tools: Sequence[Any], thinking: bool) -> str:
        """The text of a conversation up to where the model's turn begins. Raises whatever the template does."""
        ...


class ChatTemplate:
    """A template that is compiled once, in this process, and may take what time and memory it likes: for one that
    nobody knows there is bounded_template.py."""

    def __init__(self, source: str, special: Mapping[str, str]) -> None:
        """special: the tokenizer's named tokens ("bos_token": "<bos>"), which templates see. Raises jinja2's
        TemplateError for a source that is none."""
        parsed = _environment().parse(source)
        self.literals = frozenset(
            {node.data for node in parsed.find_all(nodes.TemplateData)}
            | {node.value for node in parsed.find_all(nodes.Const) if isinstance(node.value, str)}
        )
        self._special = dict(special)
        self._compiled = _environment().from_string(parsed)

    def render(self, messages: Sequence[Any], tools: Sequence[Any], thinking: bool) -> str:
        """See Template.render."""
        return self._compiled.render(
            **self._special,
            messages=[_named(message) for message in messages],
            tools=tools or None,
            documents=None,
            add_generation_prompt=True,
            enable_thinking=thinking,
        )


def _named(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a thought under each of the names that templates use for it."""
    if (thought := message.get("reasoning")) is None:
        return dict(message)
    return {**message, "thinking": thought, "reasoning_content": thought}


class _Generation(Extension):
    """{% generation %} marks what the model wrote, for training; here it is what stands inside."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own type

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Dict:
    """The name `dict` in a template: makes one, and is not the class."""

    def __call__(self, *items: Any, **named: Any) -> dict[Any, Any]:
        return dict(*items, **named)

    def fromkeys(self, *arguments: Any) -> dict[Any, Any]:
        return dict.fromkeys(*arguments)


class _Namespace(Namespace):
    """jinja's, without names that could reach into Python."""

    def __init__(*arguments: Any, **named: Any) -> None:  # `namespace(self=1)` is a legal call
        self, *items = arguments
        values = dict(*items, **named)
        for name in values:
            _plain_name(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _plain_name(name)
        super().__setitem__(name, value)


def _plain_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace of the chat template has no field {name!r}")


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _as_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Without jinja's own escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


class _Sandbox(ImmutableSandboxedEnvironment):
    """jinja's, with its answers remembered: in a long chat its checks would take longer than the model."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._safe: dict[tuple[type, str], bool] = {}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """jinja's rule asks what `obj` is an instance of and how `attr` begins, and nothing else."""
        asked = type(obj), attr
        if (safe := self._safe.get(asked)) is None:
            safe = super().is_safe_attribute(obj, attr, value)
            if len(self._safe) < RULES_KEPT:
                self._safe[asked] = safe
        return safe

    def getattr(self, obj: Any, attribute: str) -> Any:
        """What templates read most, at once: a value of a namespace, which holds none of a private name."""
        if type(obj) is _Namespace:
            value = _values(obj).get(attribute, obj)
            if type(value) in _PLAIN:
                return value
        return super().getattr(obj, attribute)

    def call(__self, __context: Context, __obj: Any, *arguments: Any, **named: Any) -> Any:
        """jinja looks first whether `obj` is marked as unsafe or wants the context, which methods of Python's own
        types cannot be."""
        if type(__obj) is not BuiltinMethodType or type(__obj.__self__) not in _OWN:
            return super().call(__context, __obj, *arguments, **named)
        named.pop("_block_vars", None)
        named.pop("_loop_vars", None)
        return __obj(*arguments, **named)


def _values(namespace: _Namespace) -> dict[str, Any]:
    values: dict[str, Any] = object.__getattribute__(namespace, "_Namespace__attrs")
    return values


def _environment() -> ImmutableSandboxedEnvironment:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = _as_json
    environment.globals.update(
        raise_exception=_refuse,
        strftime_now=lambda form: datetime.now().strftime(form),
        dict=_Dict(),
        namespace=_Namespace,
    )
    return environment
