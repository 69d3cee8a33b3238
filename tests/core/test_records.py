"""`core.records.dataclass` beside the standard library's: whatever is done to instances, both do the same."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pickle
import pkgutil
from collections.abc import Callable
from dataclasses import field
from functools import cached_property, partial
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gemma_cli.core
from gemma_cli.core import records


def made(dataclass: Any) -> dict[str, Any]:
    """Classes of every kind that the project has, made by a decorator."""

    @dataclass(frozen=True)
    class Point:
        """Frozen, with defaults."""

        x: int
        y: int = 2
        label: str = field(default="", compare=False)
        known: ClassVar[int] = 5

        @cached_property
        def total(self) -> int:
            return self.x + self.y

    @dataclass(frozen=True)
    class Deep(Point):
        """One that inherits fields and overrides a default."""

        y: int = 3
        z: tuple[int, ...] = ()

    @dataclass
    class Many:
        """Not frozen, with factories, a keyword and a field that is none of the arguments."""

        items: list[int] = field(default_factory=list)
        shown: int = field(default=1, repr=False)
        only: int = field(default=0, kw_only=True)
        after: int = field(init=False, default=0)

        def __post_init__(self) -> None:
            self.after = len(self.items) + self.only

    @dataclass
    class Own:
        """One with methods of its own."""

        x: int = 0

        def __eq__(self, other: object) -> bool:
            return True

        def __repr__(self) -> str:
            return "own"

    return {kind.__name__: kind for kind in (Point, Deep, Many, Own)}


OURS, THEIRS = made(records.dataclass), made(dataclasses.dataclass)

NAMES = ["x", "y", "z", "label", "items", "only", "after", "shown", "odd"]
NUMBERS = st.integers(0, 2)
VALUES = NUMBERS | st.just(())
CALLS = st.tuples(
    st.sampled_from(sorted(OURS)),
    st.lists(VALUES, max_size=4),
    st.dictionaries(
        st.sampled_from(["x", "y", "z", "label", "items", "only", "after", "shown", "odd"]), VALUES, max_size=3
    ),
)
READS: dict[str, Callable[[Any], Any]] = {
    "repr": lambda one: repr(one).partition(">.")[2],
    "values": vars,
    "hash": hash,
    "fields": lambda one: [(each.name, each.default) for each in dataclasses.fields(one)],
    "match": lambda one: one.__match_args__,
    "asdict": dataclasses.asdict,
    "set": lambda one: setattr(one, "x", 1) or vars(one),
    "delete": lambda one: delattr(one, "x") or vars(one),
    "replaced": lambda one: vars(dataclasses.replace(one, x=7)),
    "copied": lambda one: copy.copy(one) == one and vars(copy.deepcopy(one)),
    "cached": lambda one: one.total,
}


def outcome(act: Callable[[], Any]) -> Any:
    """What comes of it: a value, or the kind of error."""
    try:
        return act()
    except Exception as error:
        return type(error)


@settings(max_examples=60, deadline=None)
@given(CALLS, CALLS)
def test_instances_do_what_those_of_the_standard_library_do(first: Any, second: Any) -> None:
    def both(kinds: dict[str, Any]) -> Any:
        made = [outcome(lambda call=call: kinds[call[0]](*call[1], **call[2])) for call in (first, second)]
        equal = made[0] == made[1], made[0] != made[1]
        reads = [{name: outcome(partial(read, one)) for name, read in READS.items()} for one in made]
        return [type(one) for one in made if isinstance(one, type)], equal, reads

    assert both(OURS) == both(THEIRS)


def test_the_options_of_commands_are_seen_by_the_standard_library() -> None:
    from gemma_cli.core.messages import Frame, Sampling

    assert dataclasses.is_dataclass(Sampling)
    assert pickle.loads(pickle.dumps(Sampling(seed=3))) == Sampling(seed=3)
    assert [each.name for each in dataclasses.fields(Frame)][:1] == ["digest"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sampling().seed = 4  # type: ignore[misc]


def test_every_class_of_core_is_made_so() -> None:
    for found in pkgutil.iter_modules(gemma_cli.core.__path__, "gemma_cli.core."):
        module = importlib.import_module(found.name)
        made = [kind for kind in vars(module).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)]
        for kind in made:
            assert kind.__repr__.__module__ == records.__name__, f"{kind}: import dataclass from core.records"


def test_nothing_is_compiled_for_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    execute = exec
    monkeypatch.setattr("builtins.exec", lambda source, *places: compiled.append(source) or execute(source, *places))
    made(records.dataclass)
    assert not compiled
    made(dataclasses.dataclass)
    assert len(compiled) >= 4
