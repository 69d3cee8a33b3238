"""Damaged tool calls: each is read as it was meant, or not at all."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gemma_cli.core.tool_calls import QUOTE, Unreadable, parse_call
from tests.soak.outcome import Outcome

PROMISE = "A tool call with a fault in its notation is read as it was meant, or not at all."

SEED = 11

NAMES = ("a", "b", "city", "file path", "e5", "to")
PIECES = (
    *"abxyé1 {}[](),;:='\"\\\n\t", "a:", "b=", ",b:", "city:", '",', '"}', "file path:", "true", "it's", "<b>", "\\n",
    "12", " days", "print(", "x = ",
)  # fmt: skip


# --- Random calls ---------------------------------------------------------------------------------------------------


def random_schema(draw: random.Random, depth: int = 0) -> dict[str, Any]:
    """What a tool declares of one value."""
    kinds = ["string", "string", "integer", "number", "boolean", *(["array", "object"] if depth < 3 else [])]
    match kind := draw.choice(kinds):
        case "array":
            return {"type": kind, **({"items": random_schema(draw, depth + 1)} if draw.random() < 0.8 else {})}
        case "object" if draw.random() < 0.3:
            return {"type": kind}
        case "object":
            return random_object(draw, depth + 1)
    return {"type": kind}


def random_object(draw: random.Random, depth: int = 0) -> dict[str, Any]:
    """What a tool declares of an object; some properties are required."""
    chosen = draw.sample(NAMES, draw.randint(1, 4))
    properties = {name: random_schema(draw, depth) for name in chosen}
    return {"type": "object", "properties": properties, "required": [n for n in chosen if draw.random() < 0.4]}


def random_text(draw: random.Random) -> str:
    return "".join(draw.choice(PIECES) for _ in range(draw.choice((0, 1, 2, 3, 5, 8))))


def random_value(draw: random.Random, schema: dict[str, Any] | None, depth: int = 0) -> Any:
    """A value that conforms; anything where nothing is declared."""
    if schema is None:
        kinds = ["string", "integer", "number", "boolean", "null", *(["array", "object"] if depth < 4 else [])]
        schema = {"type": draw.choice(kinds)}
    match schema["type"]:
        case "string":
            return random_text(draw)
        case "integer":
            return draw.choice((0, 1, -7, 42, 10**6))
        case "number":
            return draw.choice((0, 1, -7, 0.5, -2.25, 1e30, 1e-05))
        case "boolean":
            return draw.random() < 0.5
        case "null":
            return None
        case "array":
            return [random_value(draw, schema.get("items"), depth + 1) for _ in range(draw.randint(0, 3))]
    if "properties" not in schema:
        return {name: random_value(draw, None, depth + 1) for name in draw.sample(NAMES, draw.randint(0, 3))}
    return {
        name: random_value(draw, inner, depth + 1)
        for name, inner in schema["properties"].items()
        if name in schema["required"] or draw.random() < 0.6
    }


def declared(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The declaration of a tool f with these parameters."""
    return [{"type": "function", "function": {"name": "f", "description": "F.", "parameters": schema}}]


# --- Its notation ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Token:
    """A part of a call. kind: bracket, comma, colon or quote; text, key or literal for what stands between them."""

    text: str
    kind: str


def tokens(value: Any) -> list[Token]:
    """Gemma 4's own notation, written independently of the reader."""
    match value:
        case str():
            return [Token(QUOTE, "quote"), Token(value, "text"), Token(QUOTE, "quote")]
        case bool():
            return [Token("true" if value else "false", "literal")]
        case None:
            return [Token("null", "literal")]
        case dict():
            items = [[Token(key, "key"), Token(":", "colon"), *tokens(item)] for key, item in value.items()]
            return [Token("{", "bracket"), *_joined(items), Token("}", "bracket")]
        case list():
            return [Token("[", "bracket"), *_joined([tokens(item) for item in value]), Token("]", "bracket")]
    return [Token(str(value), "literal")]


def _joined(items: list[list[Token]]) -> Iterator[Token]:
    for index, item in enumerate(items):
        if index:
            yield Token(",", "comma")
        yield from item


def written(parts: list[Token]) -> str:
    return "call:f" + "".join(part.text for part in parts)


# --- What can happen to it ------------------------------------------------------------------------------------------


DELIMITERS = ("bracket", "comma", "colon", "quote")

Damage = Callable[[random.Random, list[Token]], list[Token] | None]
"""The parts of a call after one fault; None where that cannot happen to it."""


def lost(draw: random.Random, parts: list[Token]) -> list[Token] | None:
    """One delimiter is missing. A comma between two literals leaves no trace when it goes: [1,2] becomes [12]."""
    literals = [part.kind == "literal" for part in parts]
    traces = [
        i
        for i, part in enumerate(parts)
        if part.kind in DELIMITERS and not (part.kind == "comma" and literals[i - 1] and literals[i + 1])
    ]
    i = draw.choice(traces)
    return [*parts[:i], *parts[i + 1 :]]


def doubled(draw: random.Random, parts: list[Token]) -> list[Token] | None:
    """One delimiter stands there twice."""
    i = draw.choice([i for i, part in enumerate(parts) if part.kind in DELIMITERS])
    return [*parts[: i + 1], *parts[i:]]


def inner_quotes(draw: random.Random, parts: list[Token]) -> list[Token] | None:
    """The quotes in one text became string markers."""
    quoted = [i for i, part in enumerate(parts) if part.kind == "text" and '"' in part.text]
    if not quoted:
        return None
    i = draw.choice(quoted)
    return [*parts[:i], Token(parts[i].text.replace('"', QUOTE), "text"), *parts[i + 1 :]]


_NAME = r"[\w .-]+['\"]?\s*[:=]"
PARAMETER = re.compile(rf"(\A|\")\W{{,4}}{_NAME}|[,;]\W{{,4}}{_NAME}\s*(\"|\Z)")
"""A text that holds a parameter next to its own end or to a quote cannot be told from that parameter."""


def without_quotes(draw: random.Random, parts: list[Token]) -> list[Token] | None:
    """One text without its quotes, where they are not needed: it is a word, and no number and no name of a value."""
    words = [i for i, part in enumerate(parts) if part.kind == "text" and re.fullmatch(r"[^\W\d_]\w*", part.text)]
    words = [i for i in words if parts[i].text not in ("true", "false", "null", "True", "False", "None")]
    if not words:
        return None
    i = draw.choice(words)
    return [*parts[: i - 1], parts[i], *parts[i + 2 :]]


def cut_off(draw: random.Random, parts: list[Token]) -> list[Token] | None:
    """The end is missing, from a delimiter or from anywhere else on."""
    whole = "".join(part.text for part in parts)
    return [Token(whole[: draw.randrange(len(whole))], "text")]


DAMAGES: tuple[Damage, ...] = (lost, doubled, inner_quotes, without_quotes)


def restyled(draw: random.Random, parts: list[Token]) -> str:
    """The same arguments as JSON, Python or a mixture of them would have them: always readable."""
    style = draw.choice(("json", "python", "mixed"))
    out: list[str] = []
    for before, part in zip([None, *parts], parts, strict=False):
        chosen = draw.choice(("json", "python", "gemma")) if style == "mixed" else style
        match part.kind:
            case "quote":
                continue
            case "text":
                text = {"json": json.dumps(part.text), "python": repr(part.text), "gemma": QUOTE + part.text + QUOTE}
                out.append(text[chosen])
            case "key":
                out.append({"json": json.dumps(part.text), "python": repr(part.text), "gemma": part.text}[chosen])
            case "literal" if chosen == "python":
                out.append({"true": "True", "false": "False", "null": "None"}.get(part.text, part.text))
            case "colon":
                out.append(draw.choice((":", ": ", "=", " = ")))
            case "comma":
                out.append(draw.choice((",", ", ", " ,\n  ")))
            case "bracket" if part.text in "}]" and before and before.text not in "{[" and draw.random() < 0.3:
                out.append("," + part.text)
            case _:
                out.append(part.text)
    call = "".join(out)
    return "call:f" + (draw.choice((call, f" {call[1:-1]}", f"({call[1:-1]})")) if call != "{}" else call)


# --- The trial ------------------------------------------------------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    """Equal, types too: 1 is not True."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def still_correct(parts: list[Token], tools: list[dict[str, Any]]) -> bool:
    """Whether there is nothing to see of the damage: the call is another one in Gemma 4's own notation."""
    try:
        parse_call(written(parts), tools, repair=False)
    except Unreadable:
        return False
    return True


@dataclass
class Tally:
    """How damaged calls were read: as meant, not at all, or with other values, which must not be."""

    meant: int = 0
    unreadable: int = 0
    other: int = 0


def attempt(draw: random.Random, tally: dict[str, Tally]) -> list[str]:
    """Write one random call, damage it in every way, and return a line for each reading that is wrong."""
    schema = random_object(draw)
    parts = tokens(arguments := random_value(draw, schema))
    tools = declared(schema)
    wrong = []
    for known in (tools, []):
        if not same(parse_call(written(parts), known, repair=False).arguments, arguments):
            wrong.append(f"undamaged: {written(parts)!r}")
    body = restyled(draw, parts)
    try:
        if not same(parse_call(body, tools).arguments, arguments):
            wrong.append(f"restyled: {body!r} is read as {parse_call(body, tools).arguments!r}, not {arguments!r}")
    except Unreadable as error:
        wrong.append(f"restyled: {body!r} is unreadable: {error}")
    clear = not any(PARAMETER.search(part.text) for part in parts if part.kind == "text")
    for damage in DAMAGES if clear else ():
        damaged = damage(draw, parts)
        if damaged is None or (damage is inner_quotes and still_correct(damaged, tools)):
            continue
        count = tally.setdefault(damage.__name__, Tally())
        try:
            found = parse_call(written(damaged), tools).arguments
        except Unreadable:
            count.unreadable += 1
            continue
        if same(found, arguments):
            count.meant += 1
        else:
            count.other += 1
            wrong.append(f"{damage.__name__}: {written(damaged)!r} is read as {found!r}, not {arguments!r}; {schema}")
    return wrong


def trial(scale: float) -> Outcome:
    """Try random calls, each undamaged, in other notations, and with one fault of each kind."""
    draw, tally = random.Random(SEED), {}
    failures = []
    count = round(20_000 * scale)
    for _ in range(count):
        failures += attempt(draw, tally)
    read = ", ".join(f"{name} {one.meant} of {one.meant + one.unreadable + one.other}" for name, one in tally.items())
    return Outcome(count, failures, f"Damaged calls read as meant: {read}.")
