"""Rules for the values of JSON files. A value that breaks one is a FieldError: the field, the value, what is allowed.

    Object({"hidden_size": (Whole(1, 16384), 2304)}).check({"hidden_size": "big"})
    FieldError: hidden_size is "big", but a whole number from 1 to 16384 is required

These few classes stand in for pydantic, which takes 0.2 s to import; a command that loads a small model takes 1 s in
all. And JSON is stricter than Python: true is no whole number, and 3.0 is none either.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

REQUIRED: Any = object()
"""The default of a required field."""

_SHOWN = 40
"""Characters of a value that a message quotes."""


class FieldError(ValueError):
    """A field with an invalid value."""

    def __init__(self, field: str, value: Any, wanted: str) -> None:
        super().__init__(f"{field} is {shown(value)}, {wanted}")


class Rule(Protocol):
    """A rule for a value."""

    def check(self, value: Any, field: str) -> Any:
        """Return the value as it is to be used. Raises FieldError; field: the name to give the value there."""
        ...


@dataclass(frozen=True)
class Integer:
    """A whole number from `least` to `most`."""

    least: int
    most: int

    def check(self, value: Any, field: str) -> int:
        if type(value) is not int or not self.least <= value <= self.most:
            raise FieldError(field, value, f"but a whole number from {self.least} to {self.most} is required")
        return value


@dataclass(frozen=True)
class Number:
    """A number from `least` to `most`, as a float."""

    least: float
    most: float

    def check(self, value: Any, field: str) -> float:
        if type(value) not in (int, float) or not self.least <= value <= self.most:
            raise FieldError(field, value, f"but a number from {self.least:g} to {self.most:g} is required")
        return float(value)


@dataclass(frozen=True)
class Flag:
    """true or false."""

    def check(self, value: Any, field: str) -> bool:
        if type(value) is not bool:
            raise FieldError(field, value, "but true or false is required")
        return value


@dataclass(frozen=True)
class Text:
    """A string of `least` to `most` characters."""

    least: int = 0
    most: int = 1000

    def check(self, value: Any, field: str) -> str:
        if not isinstance(value, str) or not self.least <= len(value) <= self.most:
            raise FieldError(field, value, f"but a string of {self.least} to {self.most} characters is required")
        return value


@dataclass(frozen=True)
class OneOf:
    """One of a few values; note: what is wrong with others."""

    choices: tuple[str | float | None, ...]
    note: str = ""

    def check(self, value: Any, field: str) -> Any:
        if not any(type(value) is type(choice) and value == choice for choice in self.choices):
            raise FieldError(field, value, f"but {' or '.join(map(shown, self.choices))} is required{self.note}")
        return value


@dataclass(frozen=True)
class ListOf:
    """A list of `least` to `most` values that follow one rule."""

    rule: Rule
    least: int
    most: int

    def check(self, value: Any, field: str) -> list[Any]:
        if not isinstance(value, list) or not self.least <= len(value) <= self.most:
            size = self.least if self.least == self.most else f"{self.least} to {self.most}"
            raise FieldError(field, value, f"but a list of {size} values is required")
        return [self.rule.check(item, f"{field}[{index}]") for index, item in enumerate(value)]


@dataclass(frozen=True)
class TableOf:
    """An object with at least so many fields of any name, whose values follow one rule."""

    rule: Rule
    least: int = 0

    def check(self, value: Any, field: str) -> dict[str, Any]:
        table = _object(value, field)
        if len(table) < self.least:
            raise FieldError(field, value, f"but an object with at least {self.least} fields is required")
        return {key: self.rule.check(item, f"{field}.{_name(key)}") for key, item in table.items()}


@dataclass(frozen=True)
class Object:
    """An object with known fields: of each its rule, and the default if it is missing, or null where the rule does not
    name null. Other fields are dropped, so that nothing unchecked is used; closed: or refused."""

    fields: Mapping[str, tuple[Rule, Any]]
    closed: bool = False

    def check(self, value: Any, field: str = "") -> dict[str, Any]:
        given = _object(value, field)
        if self.closed and (unknown := given.keys() - self.fields.keys()):
            name = min(unknown)
            raise FieldError(f"{field}.{_name(name)}", given[name], "but gemma does not support this field")
        return {name: self._one(given, name, f"{field}.{name}".lstrip(".")) for name in self.fields}

    def _one(self, given: Mapping[str, Any], name: str, field: str) -> Any:
        rule, default = self.fields[name]
        value = given.get(name)
        if value is not None or (name in given and isinstance(rule, OneOf) and None in rule.choices):
            return rule.check(value, field)
        if default is REQUIRED:
            raise FieldError(field, None, "but a value is required")
        return default


@dataclass(frozen=True)
class Either:
    """One of several rules, each for another type of JSON: an object, a list, or neither."""

    rules: tuple[Rule, ...]

    def check(self, value: Any, field: str) -> Any:
        rule = next((rule for rule in self.rules if _type(rule) is _type(value)), self.rules[0])
        return rule.check(value, field)


def _type(rule_or_value: Any) -> type | None:
    """Return dict for objects, list for lists, None for others."""
    if isinstance(rule_or_value, (Object, TableOf, Mapping)):
        return dict
    return list if isinstance(rule_or_value, (ListOf, list)) else None


def shown(value: Any) -> str:
    """Quote a value for a message: as JSON, shortened."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"a list of {len(value)}" if len(value) > 3 or not _flat(value) else f"[{', '.join(map(shown, value))}]"
    if isinstance(value, str):
        return json.dumps(_short(value), ensure_ascii=False)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return _short(json.dumps(value))


def _flat(values: Sequence[Any]) -> bool:
    return all(isinstance(value, (str, int, float)) or value is None for value in values)


def _name(key: str) -> str:
    """Return a foreign key on one line."""
    return json.dumps(_short(key), ensure_ascii=False)[1:-1]


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _object(value: Any, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise FieldError(field or "the file", value, "but an object is required")
    return value
