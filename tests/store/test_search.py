"""Searching the saved chats: what is found, in which order, and that nothing deleted can be."""

import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_cli.core.conversation import Conversation
from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.core.events import Turn
from gemma_cli.store import search as module
from gemma_cli.store.search import Match, match_line, phrases_in, search
from gemma_cli.store.sessions import SessionStore


@pytest.fixture
def store(tmp_path: Path) -> SessionStore:
    store = SessionStore.open(tmp_path / "sessions.db")
    save(store, "garden", "When do I plant tomatoes?", "In May, after the ice saints.")
    save(store, "party", "Plan a garden party with tomatoes.", "Invite twelve people.")
    save(store, "paris", "Où est le café?", "Près du musée. L'ÉTÉ y est doux.")
    save(store, "tokyo", "明日は東京に行きます", "いいですね")
    return store


def save(store: SessionStore, name: str, asked: str, answered: str) -> None:
    reply = Turn(text=answered, finish_reason="stop")
    store.new(name).save(Conversation().saying(asked).hearing(reply, "pocket"))


def found(store: SessionStore, *phrases: str) -> list[tuple[str, int]]:
    return [(match.session, match.message) for match in search(store, phrases)]


@pytest.mark.parametrize(
    ("phrases", "places"),
    [
        (("ICE",), [("garden", 2)]),
        (("tomatoes", "party"), [("party", 1)]),
        (("garden party",), [("party", 1)]),
        (("party garden",), []),
        (("tomat",), [("party", 1), ("garden", 1)]),
        (("tomat*",), [("party", 1), ("garden", 1)]),
        (("cafe",), [("paris", 1)]),
        (("été",), [("paris", 2)]),
        (("東京",), [("tokyo", 1)]),
        (("inv", "twelve"), [("party", 2)]),
        (("nothing here",), []),
        (("tomatoes?", "-"), [("party", 1), ("garden", 1)]),
        (('say "tomatoes"',), []),
        (("twelve OR ice",), []),
        (("\udcff",), []),
    ],
)
def test_what_is_found(store: SessionStore, phrases: tuple[str, ...], places: list[tuple[str, int]]) -> None:
    if phrases == ("\udcff",):
        with pytest.raises(UsageError):
            search(store, phrases)
        return
    assert sorted(found(store, *phrases)) == sorted(places)


def test_a_match_tells_where_it_is_and_what_stands_around_it(store: SessionStore) -> None:
    (match,) = search(store, ["saints"])
    assert match == Match("garden", 2, "assistant", match.said_at, "In May, after the ice [saints].")
    assert match_line(match) == f"garden  2  {match.said_at[:10]}  assistant: In May, after the ice [saints]."
    (part,) = search(store, ["東京"])
    assert part.excerpt == "明日は[東京]に行きます"


def test_the_best_comes_first_and_the_limit_holds(store: SessionStore) -> None:
    save(store, "much", "owl owl owl", "one owl among a great many other words that are not about it at all")
    assert found(store, "owl") == [("much", 1), ("much", 2)]
    assert len(search(store, ["owl"], limit=1)) == 1
    assert len(search(store, ["ow"], limit=1)) == 1


def test_what_was_deleted_is_not_found(store: SessionStore) -> None:
    store.delete("garden")
    assert found(store, "saints") == []
    with pytest.raises(UsageError, match="no search words"):
        search(store, ["  ", "?!"])


def test_a_python_without_the_extension_is_told(store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class Without(sqlite3.Connection):
        def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:
            raise sqlite3.OperationalError("no such module: fts5")

    monkeypatch.setattr(module.sqlite3, "connect", lambda path: Without(path))
    texts = [("a", 0, "user", "", "b")]
    with pytest.raises(GemmaError, match="has no FTS5"):
        module._index(texts)


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS, min_size=1, max_size=3))
def test_no_query_is_an_error(store: SessionStore, phrases: list[str]) -> None:
    if any(map(str.isalnum, "".join(phrases))):
        search(store, phrases)
    else:
        with pytest.raises(UsageError, match="no search words"):
            search(store, phrases)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(categories=("Ll", "Lo", "Nd")), min_size=1, max_size=12))
def test_what_was_said_is_found(store: SessionStore, word: str) -> None:
    texts = [("a", 0, "user", "", f"before {word} after"), ("b", 0, "user", "", "something else")]
    index = module._index(texts)
    rows = module._by_words(index, [word], 5) or module._by_parts(index, [word], 5)
    assert "a" in [row[0] for row in rows]


def test_a_line_is_words_and_phrases() -> None:
    assert phrases_in('a "b c" don\'t "') == ["a", "b c", "don't"]


def test_thousands_of_messages_take_no_second(store: SessionStore) -> None:
    texts = [("a", number, "user", "", f"message {number} " + "word " * 40) for number in range(5_000)]
    began = time.process_time()
    rows = module._by_words(module._index(texts), ["4321"], 5)
    assert time.process_time() - began < 1
    assert [row[1] for row in rows] == [4321]
