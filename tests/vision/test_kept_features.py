"""A picture of a saved chat goes through the tower once: over its turns, and over restarts of the program."""

from __future__ import annotations

import json
import sqlite3

import pytest
import torch

from gemma_cli.engines.local.encoders.towers import MediaEncoders
from gemma_cli.store.features import FeatureStore
from gemma_cli.store.paths import state_dir
from gemma_cli.store.sessions import SessionStore
from tests.vision.drawn_videos import draw_video
from tests.vision.test_picture_batch import drawn
from training.data import scenes


@pytest.fixture
def store(tmp_path):
    store = SessionStore.open(tmp_path / "sessions.db")
    yield store
    store.close()


def fresh(pocket):
    old = pocket.towers
    return MediaEncoders(old.folder, old.config, old.device, old.dtype)


def test_features_come_back_to_the_last_bit_for_the_same_tower_alone(pocket, store):
    first, second, other = fresh(pocket), fresh(pocket), fresh(pocket)
    pictures = [(picture, budget) for picture in drawn(3) for budget in (None, 140)]
    first.remember_on(FeatureStore(store), "weights")
    first.look(pictures[:3])
    made = [first.features(*picture) for picture in pictures]
    second.remember_on(FeatureStore(store), "weights")
    second.look(pictures)
    assert all(torch.equal(rows, second.features(*picture)) for rows, picture in zip(made, pictures, strict=True))
    assert (first.encoded, second.encoded) == (6, 0)
    other.remember_on(FeatureStore(store), "other weights")
    other.features(*pictures[0])
    assert other.encoded == 1


def test_what_does_not_fit_is_made_again(pocket, store):
    encoders = fresh(pocket)
    encoders.remember_on(FeatureStore(store), "weights")
    (picture,) = drawn(1)
    rows = encoders.features(picture, None)
    with store.database.writing() as db:
        db.execute("UPDATE feature SET rows = x'00010203'")
    again = fresh(pocket)
    again.remember_on(FeatureStore(store), "weights")
    assert torch.equal(again.features(picture, None), rows)
    assert again.encoded == 1


def test_there_is_a_bound_and_the_oldest_go_first(store):
    shelf = FeatureStore(store, most=100)
    for number in range(5):
        shelf.keep(f"{number}", "t", bytes([number]) * 40)
    assert [shelf.find(f"{number}", "t") is not None for number in range(5)] == [False, False, False, True, True]
    shelf.keep("large", "t", bytes(101))
    assert shelf.find("large", "t") is None
    assert shelf.find("4", "t") == b"\x04" * 40


def test_a_database_that_fails_costs_time_alone(store, monkeypatch):
    def broken():
        raise sqlite3.OperationalError("disk full")

    shelf = FeatureStore(store)
    monkeypatch.setattr(store.database, "writing", broken)
    monkeypatch.setattr(store.database, "reading", broken)
    shelf.keep("a", "t", b"rows")
    assert shelf.find("a", "t") is None


def test_a_video_in_a_chat_is_encoded_once_over_turns_and_restarts(gemma, engine, tmp_path, monkeypatch):
    pocket = engine.engine
    monkeypatch.setattr("gemma_cli.common.opening.open_engine", lambda spec: pocket)

    def restarted():
        pocket.towers._kept.clear()
        pocket.towers._counts.clear()
        pocket.live.forget()

    def told(*arguments):
        done = gemma("chat", *arguments, "--temperature", "0", "--max-tokens", "8", "--stats", "--json")
        return json.loads(done.out)["text"], done.err

    video = draw_video(tmp_path / "a.mp4", [scenes.restore([], 320, 256, ground) for ground in scenes.GROUNDS[2:5]])
    restarted()
    _, first = told("What is this?", "--video", video, "--session", "video")
    assert "of the prompt tokens from pictures and sound, 3 of these newly encoded" in first
    _, second = told("And now?", "--session", "video")
    assert "of the prompt tokens from pictures and sound, none of these newly encoded" in second
    restarted()
    _, third = told("What else?", "--session", "video")
    assert "none of these newly encoded" in third
    with sqlite3.connect(state_dir() / "sessions.db") as db:
        assert db.execute("SELECT count(*) FROM feature").fetchone() == (3,)
        assert gemma("sessions", "delete", "video").code == 0
        assert db.execute("SELECT count(*) FROM feature").fetchone() == (0,)
    pocket.towers._shelf = None
