"""The types of settings: what each accepts as text and in TOML, and how a value is written.

`parse` and `check` raise ValueError for a value that is out of range; `takes` says in words what the range is.
"""

from __future__ import annotations

import json
import math
from typing import Protocol

from gemma_cli.core.records import dataclass

Value = str | float | bool | tuple[str, ...] | None
"""The value of a setting. None: not set, which words such as auto and random also mean."""


class Kind(Protocol):
    """metavar: the type as --help shows it."""

    @property
    def metavar(self) -> str: ...

    @property
    def takes(self) -> str: ...

    def parse(self, text: str) -> Value: ...

    def check(self, value: object) -> Value: ...

    def shown(self, value: Value) -> str:
        """Return the value as written in config.toml."""
        ...


@dataclass(frozen=True)
class Number:
    """A number in a range, both ends included."""

    lowest: float
    highest: float

    @property
    def metavar(self) -> str:
        return f"{self.lowest:g}..{self.highest:g}"

    @property
    def takes(self) -> str:
        return f"a number from {self.lowest:g} to {self.highest:g}"

    def parse(self, text: str) -> Value:
        return self.check(float(text))

    def check(self, value: object) -> Value:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError
        if not self.lowest <= value <= self.highest:
            raise ValueError
        return float(value)

    def shown(self, value: Value) -> str:
        return json.dumps(value)


@dataclass(frozen=True)
class Whole:
    """A whole number in a range. word: stands for a value that is found when it is needed. only: the values in it.

    named: words for some of the values.
    """

    lowest: int
    highest: int
    word: str = ""
    only: tuple[int, ...] = ()
    named: tuple[tuple[str, int], ...] = ()

    @property
    def metavar(self) -> str:
        numbers = "|".join(map(str, self.only)) or f"{self.lowest}..{self.highest}"
        numbers = "|".join([numbers, *dict(self.named)])
        return f"{numbers}|{self.word}" if self.word else numbers

    @property
    def takes(self) -> str:
        one = "one of " + ", ".join([*map(str, self.only), *dict(self.named)])
        numbers = one if self.only else f"a whole number from {self.lowest} to {self.highest}"
        return f"{numbers}, or {self.word}" if self.word else numbers

    def parse(self, text: str) -> Value:
        named = text in (self.word, *dict(self.named))
        return self.check(text if named else int(text))

    def check(self, value: object) -> Value:
        if self.word and value == self.word:
            return None
        value = dict(self.named).get(value, value) if isinstance(value, str) else value
        if isinstance(value, bool) or not isinstance(value, int) or not self.lowest <= value <= self.highest:
            raise ValueError
        if self.only and value not in self.only:
            raise ValueError
        return value

    def shown(self, value: Value) -> str:
        return json.dumps(self.word if value is None else value)


@dataclass(frozen=True)
class Choice:
    """One of several words."""

    words: tuple[str, ...]

    @property
    def metavar(self) -> str:
        return "|".join(self.words)

    @property
    def takes(self) -> str:
        return f"one of {', '.join(self.words)}"

    def parse(self, text: str) -> Value:
        return self.check(text)

    def check(self, value: object) -> Value:
        if not isinstance(value, str) or value not in self.words:
            raise ValueError
        return value

    def shown(self, value: Value) -> str:
        return _quoted(value)


@dataclass(frozen=True)
class Words:
    """Text that is not empty; further checks happen where it is used."""

    metavar: str

    @property
    def takes(self) -> str:
        return f'text in quotation marks, for example "{self.metavar}"'

    def parse(self, text: str) -> Value:
        return self.check(text)

    def check(self, value: object) -> Value:
        if not isinstance(value, str) or not value:
            raise ValueError
        return value

    def shown(self, value: Value) -> str:
        return _quoted(value)


@dataclass(frozen=True)
class Switch:
    """True or false."""

    metavar: str = ""

    @property
    def takes(self) -> str:
        return "true or false"

    def parse(self, text: str) -> Value:
        if text.lower() in ("true", "on", "yes", "1"):
            return True
        if text.lower() in ("false", "off", "no", "0"):
            return False
        raise ValueError

    def check(self, value: object) -> Value:
        if not isinstance(value, bool):
            raise ValueError
        return value

    def shown(self, value: Value) -> str:
        return json.dumps(value)


@dataclass(frozen=True)
class Texts:
    """A list of texts; as one text they have commas between them."""

    metavar: str

    @property
    def takes(self) -> str:
        return f'a list of texts, for example ["{self.metavar}"]'

    def parse(self, text: str) -> Value:
        return self.check([part.strip() for part in text.split(",") if part.strip()])

    def check(self, value: object) -> Value:
        if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
            raise ValueError
        return tuple(value)

    def shown(self, value: Value) -> str:
        texts = value if isinstance(value, tuple) else ()
        return f"[{', '.join(map(_quoted, texts))}]"


def _quoted(value: Value) -> str:
    return json.dumps(value, ensure_ascii=False)
