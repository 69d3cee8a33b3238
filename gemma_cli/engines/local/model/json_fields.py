"""Typed look-ups in a JSON object: a field of the wrong type is a ValueError that names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Fields:
    """One JSON object. A default of None: the field must be there; null stands for the default elsewhere."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def within(self, overrides: Mapping[str, Any]) -> Fields:
        """The same object with some fields replaced."""
        return Fields({**self.values, **overrides}) if overrides else self

    def whole(self, name: str, default: int | None, least: int = 1) -> int:
        value = self._get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} is {value!r}, not a whole number of at least {least}")
        return value

    def whole_or_none(self, name: str, default: int | None = None) -> int | None:
        value = self.values.get(name, default)
        return None if value is None else self.whole(name, default, least=-1)

    def number(self, name: str, default: float | None) -> float:
        value = self._get(name, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
            raise ValueError(f"{name} is {value!r}, not a number above 0")
        return float(value)

    def number_or_none(self, name: str) -> float | None:
        return None if self.values.get(name) is None else self.number(name, None)

    def flag(self, name: str, default: bool) -> bool:
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}, neither true nor false")
        return value

    def text(self, name: str, default: str) -> str:
        value = self._get(name, default)
        if not isinstance(value, str):
            raise ValueError(f"{name} is {value!r}, not a word")
        return value

    def _get(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        return default if value is None else value
