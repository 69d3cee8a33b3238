"""Hostile chat templates: each writes a text of bounded length, or is refused in one line."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from jinja2 import TemplateError

from gemma_cli.core.errors import ModelError
from gemma_cli.engines.local.text import bounded_template
from gemma_cli.engines.local.text.bounded_template import BoundedTemplate
from tests.soak.outcome import Outcome

PROMISE = "a chat template takes bounded time and memory, whatever it does"

LATE = 15.0
"""Seconds a request may take beyond the wall-clock bound, on a busy machine."""

MEMORY = 300 << 20
"""Bytes, of this process beyond what it had, and of a process that renders, in all."""

CONVERSATION = [{"role": "user", "content": "hello " * 20}, {"role": "assistant", "content": "well"}]

HUGE = (10**6, 10**8, 3 * 10**9, 2**63 - 1, 10**30)

SIZES = (
    "'x' * {n}",
    "[0] * {n}",
    "'ab'.ljust({n})",
    "'ab'.rjust({n}, '-')",
    "'ab'.center({n})",
    "'7'.zfill({n})",
    "'\\t'.expandtabs({n})",
    "'%{n}s' % 1",
    "'%.{n}f' % 1.5",
    "'%0{n}d' % 7",
    "'{{:{n}}}'.format(1)",
    "'{{:>{n}}}'.format('a')",
    "'%*s' % ({n}, 'a')",
    "messages[0].content * {n}",
    "'ab' | center({n})",
    "'a\\nb' | indent({n})",
    "'ab' | indent({n}, true)",
    "('%' ~ {n} ~ 's') | format('a')",
    "lipsum({n})",
    "range({n}) | list",
    "range({n}) | sum",
    "'a b' | wordwrap({n}, wrapstring='x' * 99999)",
    "messages | tojson(indent={n})",
    "('a,' * {n}).split(',')",
    "('a' * {n}).replace('a', 'b' * 99999)",
    "[1] | batch({n}, 'x') | list",
    "[1] | slice({n}) | list",
    "2 ** {n}",
    "(1).__pow__({n})",
    "7 ** 7 ** 7 ** {n}",
    "{n} ** {n}",
)
"""Expressions whose size, or time, grows with a number."""

LOOPS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}BODY{% endfor %}{% endfor %}",
    "{% for a in range(99999) recursive %}BODY{{ loop(range(99999)) }}{% endfor %}",
    "{% macro m(n) %}BODY{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% for a in range(99999) %}{% for b in messages[0].content %}{% for c in range(99999) %}{% set ns.y = ns.y + 1 %}"
    "BODY{% endfor %}{% endfor %}{% endfor %}",
)
BODIES = (
    "",
    "x",
    "{% set ns.x = ns.x ~ 'x' %}",
    "{% set ns.x = ns.x ~ ns.x %}",
    "{% set ns.l = ns.l + [ns.l] %}",
    "{% set ns.x = ns.x | replace('x', 'xx') %}",
    "{% set ns.l = [ns.l, ns.l] %}{{ ns.l | tojson }}",
    "{{ range(99999) | map('string') | join }}",
    "{{ (messages * 999) | tojson | length }}",
)

MISCHIEF = (
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ m() }}{% endcall %}",
    "{% set n = namespace() %}{% set n.n = n %}{{ n.n.n.n }}{{ n | tojson }}",
    "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x | tojson }}",
    "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x == n.x[0] }}",
    "{% set n = namespace(x={}) %}{% for i in range(999) %}{% set n.x = {'a': n.x} %}{% endfor %}{{ n.x | string }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "-" * 20000 + "1 }}",
    "{{ " + "not " * 20000 + "1 }}",
    "{{ 1" + " + 1" * 20000 + " }}",
    "{{ 'a'" + " ~ 'a'" * 20000 + " }}",
    "{{ [" * 2000 + "1" + "] }}" * 2000,
    "{{ " + "[" * 5000 + "]" * 5000 + " }}",
    "{{ a" + ".b" * 20000 + " }}",
    "{{ a" + "|upper" * 20000 + " }}",
    "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "{% for a in [1] %}" * 50 + "x" + "{% endfor %}" * 50,
    "{% for a in [1, 2] %}" * 18 + "x" + "{% endfor %}" * 18,
    "{% set a %}" * 2000 + "{% endset %}" * 2000,
    "{# " * 5000,
    "{% raw %}" * 5000,
    "{{ '" + "\\" * 100001 + "' }}",
    "{{ 1e999999999 }}{{ " + "9" * 5000 + " }}",
    "x" * (1 << 20),
    "{{ messages }}" * 60000,
    "{% block a %}{{ self.a() }}{% endblock %}",
    "{% include 'x' %}",
    "{% extends 'x' %}",
    "{% import 'x' as y %}",
    "{{ cycler('a').__init__.__globals__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ lipsum.__globals__['os'].system('true') }}",
    "{{ strftime_now('%9999999999Y' * 99999) }}",
    "{{ strftime_now('%c' * 999999) }}",
    "{{ raise_exception('x' * 99999999) }}",
    "{{ raise_exception('a\\nb\\x1b[31m') }}",
    "{{ 'a'.join(range(99999) | map('string')) * 999 }}",
    "{{ messages | map(attribute='content') | list * 99999999 }}",
    "{{ dict.fromkeys(range(99999)) | tojson }}",
    "{{ namespace(**dict.fromkeys(['a'] * 999)) }}",
    "{{ (messages | groupby('role')) * 99999999 }}",
    "{{ range(99999) | random }}{{ range(99999) | sort | reverse | list | unique | list | length }}",
    "{% for a in messages | cycle %}{% endfor %}",
    "{% for c in joiner() %}{% endfor %}",
    "{{ 'aaaa' | urlize }}{{ ('http://' * 99999) | urlize }}",
    "{{ ('a.' * 99999 ~ '@') | urlize }}",
    "{{ ('<' * 99999) | striptags }}",
    "{{ ('a ' * 99999) | title | wordcount }}",
    "{{ ('x' * 99999) | truncate(10 ** 9) | wordwrap(1) }}",
    "{{ messages | pprint }}{{ range(99999) | list | pprint }}",
    "\ud800{{ messages[0].content }}\udfff",
    "\0{{ messages[0].content }}",
)


def hostile() -> list[str]:
    """All templates, in an order in which any part holds some of each kind."""
    prologue = "{% set ns = namespace(x='x', l=[1], y=0) %}"
    made = ["{{ " + size.format(n=number) + " }}" for size, number in product(SIZES, HUGE)]
    made += ["{% set a = " + size.format(n=10**9) + " %}{{ a | length }}" for size in SIZES]
    made += [prologue + loop.replace("BODY", body) for loop, body in product(LOOPS, BODIES)]
    made += MISCHIEF
    step = 97  # a prime that does not divide their number
    return [made[index * step % len(made)] for index in range(len(made))]


def trial(scale: float) -> Outcome:
    """Compile and render each template once."""
    sources = hostile()
    sources = sources[: max(2, round(len(sources) * scale))]
    before, slowest = _peak(resource.RUSAGE_SELF), 0.0
    failures: list[str] = []
    refused = written = 0
    for source in sources:
        began = time.monotonic()
        try:
            text = BoundedTemplate(source, {"bos_token": "<bos>"}, Path("t.jinja")).render(CONVERSATION, (), False)
            written += 1
            if len(text) > 2 << 20:
                failures.append(f"{source[:80]!r}: wrote {len(text)} characters")
        except ModelError as error:
            refused += 1
            failures += (
                [f"{source[:80]!r}: not one short line"] if isinstance(error, ModelError) and "\n" in str(error) else []
            )
        except Exception as error:  # jinja2's own are the template's; anything else is a fault of ours
            refused += 1
            if type(error) is not TemplateError:
                failures.append(f"{source[:80]!r}: {error!r}"[:300])
        took = time.monotonic() - began
        slowest = max(slowest, took)
        if took > 2 * bounded_template.WALL + LATE:
            failures.append(f"{source[:80]!r}: took {took:.0f} s")
    failures += [*_memory("this process", _peak(resource.RUSAGE_SELF) - before)]
    failures += [*_memory("a process that renders", _peak(resource.RUSAGE_CHILDREN))]
    peak = _peak(resource.RUSAGE_CHILDREN) >> 20
    return Outcome(
        len(sources), failures, f"{refused} refused, {written} written, at most {peak} MB and {slowest:.0f} s each"
    )


def _memory(whose: str, size: int) -> Iterator[str]:
    if size > MEMORY:
        yield f"{whose} took {size >> 20} MB"


def _peak(whose: int) -> int:
    return resource.getrusage(whose).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
