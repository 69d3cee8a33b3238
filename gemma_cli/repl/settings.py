"""Settings that can change during a chat: frozen values, and their names for /set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any, Literal

from gemma_cli.core.errors import UsageError
from gemma_cli.core.messages import Drafting, Sampling, random_seed
from gemma_cli.core.records import dataclass
from gemma_cli.core.setting import Setting
from gemma_cli.core.setting_kinds import Value
from gemma_cli.core.settings import ANSWER_TOKENS, SETTINGS, THOUGHT_TOKENS


@dataclass(frozen=True)
class Settings:
    """thinking: the model thinks first; thoughts: how much of that is shown; raw: markdown is shown as written.

    thinking_budget: tokens of thought at most; None: no limit. summarize: what the window has no room for any more is
    summarized, not left out.
    """

    sampling: Sampling
    drafting: Drafting
    thinking: bool = False
    thoughts: Literal["folded", "full", "hidden"] = "folded"
    raw: bool = False
    thinking_budget: int | None = None
    summarize: bool = False


@dataclass(frozen=True)
class Knob:
    """A setting of /set: its declaration, and the place of its value in a chat."""

    setting: Setting
    get: Callable[[Settings], Value]
    put: Callable[[Settings, Any], Settings]

    @property
    def says(self) -> str:
        return f"{self.setting.kind.takes}; {self.setting.help[0].lower()}{self.setting.help[1:].rstrip('.')}"


def _sampling(name: str) -> Knob:
    field = SETTINGS[name].field

    def put(settings: Settings, value: Any) -> Settings:
        return replace(settings, sampling=replace(settings.sampling, **{field: value}))

    return Knob(SETTINGS[name], lambda settings: getattr(settings.sampling, field), put)


def _put_seed(settings: Settings, value: int | None) -> Settings:
    seed = random_seed() if value is None else value
    return replace(settings, sampling=replace(settings.sampling, seed=seed))


def _put_max_tokens(settings: Settings, value: int | None) -> Settings:
    most = value or (THOUGHT_TOKENS if settings.thinking else ANSWER_TOKENS)
    return replace(settings, sampling=replace(settings.sampling, max_tokens=most))


_FIELDS = {field.name for field in fields(Sampling)}
_PLAIN = [name for name, setting in SETTINGS.items() if setting.field in _FIELDS and setting.default is not None]
"""Settings of `Sampling` whose value is what was set; the others stand for one that is found when it is needed."""

KNOBS = {
    **{name: _sampling(name) for name in _PLAIN},
    "seed": replace(_sampling("seed"), put=_put_seed),
    "max-tokens": replace(_sampling("max-tokens"), put=_put_max_tokens),
    "thinking-budget": Knob(
        SETTINGS["thinking-budget"],
        lambda settings: settings.thinking_budget or 0,
        lambda settings, value: replace(settings, thinking_budget=value or None),
    ),
    "draft-tokens": Knob(
        SETTINGS["draft-tokens"],
        lambda settings: "auto" if settings.drafting.adaptive else settings.drafting.draft_tokens,
        lambda settings, value: replace(
            settings, drafting=Drafting(adaptive=True) if value is None else Drafting(value)
        ),
    ),
}


def thinking(settings: Settings, on: bool) -> Settings:
    """With thinking switched; a limit of tokens that was never changed grows, for thoughts count too."""
    sampling = settings.sampling
    if on and sampling.max_tokens == Sampling().max_tokens:
        sampling = replace(sampling, max_tokens=THOUGHT_TOKENS)
    return replace(settings, thinking=on, sampling=sampling)


def reseeded(settings: Settings) -> Settings:
    """The next seed: the same one would give the same reply again."""
    sampling = settings.sampling
    return replace(settings, sampling=replace(sampling, seed=(sampling.seed + 1) % 2**32))


def changed(settings: Settings, name: str, text: str) -> Settings:
    """`settings` with `name` set to what `text` says. Raises UsageError naming the range."""
    knob = knob_named(name)
    return knob.put(settings, knob.setting.parse(text))


def knob_named(name: str) -> Knob:
    """Return the knob. Raises UsageError with the most similar name."""
    if knob := KNOBS.get(name.replace("_", "-")):
        return knob
    close = get_close_matches(name, KNOBS, 1)
    remedy = f"did you mean {close[0]}?" if close else f"there are {', '.join(KNOBS)}"
    raise UsageError(f"no setting is named '{name}': {remedy}")
