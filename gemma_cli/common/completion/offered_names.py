"""The names that a shell is offered for the value of an option; nothing heavy is imported for them."""

from __future__ import annotations


def models() -> list[str]:
    """The targets on this disk, by the shortest name they have."""
    from gemma_cli.store.models.catalogue import catalogue

    here = (entry for entry in catalogue() if entry.kind == "target" and entry.state in ("bundled", "cached"))
    return [entry.alias or entry.name for entry in here]


def releases() -> list[str]:
    """The names that can be fetched."""
    from gemma_cli.store.models.releases import RELEASES

    return [release.alias for release in RELEASES]


def devices() -> list[str]:
    """The names of devices, which need not be there: looking for them takes seconds."""
    return ["auto", "cpu", "cuda", "cuda:0", "cuda:1", "mps"]


def presets() -> list[str]:
    from gemma_cli.store.config import load_config

    return list(load_config().presets)


def sessions() -> list[str]:
    from gemma_cli.store.paths import state_dir
    from gemma_cli.store.sessions import SESSIONS, SessionStore

    path = state_dir() / SESSIONS
    return [summary.name for summary in SessionStore.open(path).list()] if path.exists() else []


def languages() -> list[str]:
    from gemma_cli.text.languages import LANGUAGES

    return [language.name for language in LANGUAGES]


def setting_names() -> list[str]:
    from gemma_cli.core.settings import SETTINGS

    return list(SETTINGS)
