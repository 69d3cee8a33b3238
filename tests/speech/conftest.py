"""Fixtures of the commands' tests, which the tests of speech use too."""

from tests.commands.conftest import engine, gemma

__all__ = ["engine", "gemma"]
