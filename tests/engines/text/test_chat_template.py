"""Our sandbox against jinja's own: the same values, the same refusals, whatever is asked and however often."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from jinja2 import TemplateError
from jinja2.runtime import LoopContext, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from gemma_cli.engines.local.text import chat_template
from gemma_cli.engines.local.text.chat_template import ChatTemplate

environment = chat_template._environment


def stock() -> ImmutableSandboxedEnvironment:
    """With our extensions, filters and globals, and none of our methods."""
    bare = environment()
    bare.__class__ = ImmutableSandboxedEnvironment
    return bare


def generator() -> Any:
    yield 1


def named(**values: Any) -> Namespace:
    made: Namespace = environment().globals["namespace"](**values)  # type: ignore[operator]
    return made


OBJECTS: list[Any] = [
    {"content": "hi", "get": "a key that is a method's name", "__class__": "a key", "_own": 1, "clear": 2},
    *("a string", b"bytes", 3, 3.5, True, None, [1], (1,), {1}, frozenset({1}), range(3)),
    *(str, dict, type, object, generator, generator(), generator().gi_frame, generator.__code__),
    *("{0.__class__}".format, "".format_map, "".join, [].append, {}.get),
    *(named(content="hi", format="".format, items=[1], n=None, f=str, g=generator), named()),
    *(environment().globals[name] for name in ("dict", "namespace", "raise_exception", "cycler", "joiner")),
    *(Undefined(name="missing"), LoopContext([1, 2], Undefined), environment(), ValueError("an error")),
]

NAMES = sorted(
    {name for one in OBJECTS if type(one) is not Namespace for name in dir(type(one))}
    | {"content", "role", "n", "f", "g", "_own", "_Namespace__attrs", "__attrs", "mro", "gi_frame", "cr_frame", "a b"}
    | {"__globals__", "__code__", "__self__", "__func__", "func_globals", "tb_frame", "index0", "last", "", "_"}
)


def outcome(look: Any, one: Any, name: str) -> tuple[Any, ...]:
    try:
        found = look(one, name)
    except Exception as error:
        return type(error), str(error)
    if isinstance(found, Undefined):
        return type(found), found._undefined_message, found._undefined_exception
    made_anew = callable(found) and type(found).__name__ in ("function", "method-wrapper", "builtin_function_or_method")
    return type(found), getattr(found, "__qualname__", None) if made_anew else repr(found)


@pytest.mark.parametrize("way", ["getattr", "getitem"])
def test_every_attribute_of_everything_is_what_jinja_gives(way: str) -> None:
    ours, theirs = environment(), stock()
    for _ in range(2):  # the second time answers are remembered
        for one, name in product(OBJECTS, NAMES):
            assert outcome(getattr(ours, way), one, name) == outcome(getattr(theirs, way), one, name), (one, name)


def test_no_more_answers_are_remembered_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "RULES_KEPT", 3)
    ours, theirs = environment(), stock()
    for one, name in product(OBJECTS[:2], NAMES):
        assert outcome(ours.getattr, one, name) == outcome(theirs.getattr, one, name)
    assert len(ours._safe) == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "source",
    [
        "{{ '{0.__class__}'.format(1) }}",
        "{% set n = namespace(f=''.format) %}{{ n.f.__self__.__class__ }}",
        "{% set n = namespace(f='{0.__class__.__mro__}'.format) %}{{ n.f(1) }}",
        "{% set n = namespace(x=messages) %}{{ n.x.append(1) }}",
        "{% set n = namespace(x={}) %}{{ n.x.update(a=1) }}{{ n.x }}",
        "{% set n = namespace(x=1) %}{{ n._Namespace__attrs.update(__class__=1) }}{{ n.__class__ }}",
        "{{ namespace(a=1).__init__ }}{{ namespace(a=1)['a'] }}{{ namespace(a=1)|attr('a') }}",
        "{{ messages|map(attribute='__class__')|list }}",
        "{{ messages[0].get }}{{ messages[0].get('content') }}{{ messages[0].pop('content') }}",
        "{{ messages[0].get('role', 1) }}{{ 'a,b'.split(',') }}{{ [1, 2].index(2) }}{{ {'a': 1}.items()|list }}",
        "{% set g = messages|map('length') %}{{ g.send(none) }}{{ g.send(none) is undefined }}",
        "{{ {}.get() }}",
        "{{ ''.join(1) }}",
        "{{ 'a'.join(messages|map(attribute='role')) }}{{ dict(a=1) }}{{ dict.fromkeys([1]) }}{{ range(3)|list }}",
        "{% macro m(x) %}{{ x }}{{ caller() }}{{ varargs }}{% endmacro %}{% call m(1, 2) %}c{% endcall %}{{ m() }}",
        "{% for m in messages %}{{ loop.index0 }}{{ loop.last }}{{ loop.__class__ }}{% endfor %}",
    ],
)
def test_templates_render_and_are_refused_as_under_jinja(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def rendered() -> str | tuple[type, str]:
        try:
            return ChatTemplate(source, {}).render([{"role": "user", "content": "hi"}], (), False)
        except (TemplateError, TypeError) as error:
            return type(error), str(error)

    ours = rendered()
    monkeypatch.setattr(chat_template, "_environment", stock)
    theirs = rendered()
    # What is printed of a method holds its address.
    assert str(ours).partition(" at 0x")[0] == str(theirs).partition(" at 0x")[0]
