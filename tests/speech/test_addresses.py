"""Recordings that stand on a server."""

import pytest

from tests.media.fetching.server import serving
from tests.speech.words import hear, pause, record, say


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        server.files["/a.wav"] = record(tmp_path / "a.wav", say([1, 2]), pause(1.0)).read_bytes()
        (tmp_path / "a.wav").unlink()
        yield server


def test_a_recording_at_an_address_is_heard(gemma, server):
    outcome = gemma("transcribe", server.address("/to//a.wav"))
    assert (outcome.code, outcome.out, outcome.err) == (0, "w1 w2\n", "")


def test_transcripts_are_named_after_addresses_and_not_fetched_again(gemma, engine, server, tmp_path):
    command = ("transcribe", server.address("/a.wav?x=1"), server.address("/gone.wav"), "-o", "out", "--skip-existing")
    outcome = gemma(*command)
    assert outcome.code == 1
    assert outcome.err.endswith(
        "1 of 2 files failed: "
        + server.address("/gone.wav: the server does not have the file (404); check the address\n")
    )
    assert (tmp_path / "out" / "a.txt").read_text() == "w1 w2\n"
    server.asked.clear()
    assert gemma(*command).code == 1
    assert (len(engine.requests), server.asked) == (1, ["/gone.wav"])


def test_an_interrupted_one_goes_on(gemma, engine, server, tmp_path):
    stretches = [part for word in range(9) for part in (say([word]), pause(4.0))]
    server.files["/long.wav"] = record(tmp_path / "long.wav", *stretches).read_bytes()

    def interrupted(request, samples):
        if hear(samples) == "w5":
            raise KeyboardInterrupt
        return hear(samples)

    engine.reply = interrupted
    assert gemma("transcribe", server.address("/long.wav")).code == 130
    engine.reply = lambda request, samples: hear(samples)
    engine.requests.clear()
    outcome = gemma("transcribe", server.address("/long.wav"))
    assert outcome.out.split() == [f"w{word}" for word in range(9)]
    assert "continuing an interrupted run" in outcome.err
    assert len(engine.requests) == 4


def test_what_is_no_sound_is_told(gemma, engine, server):
    gemma("transcribe", server.address("/page/watch")).refuses(server.address("/page/watch"), "a web page")
    server.files["/notes.txt"] = b"not a sound at all\n" * 100
    gemma("transcribe", server.address("/notes.txt")).refuses("/notes.txt", "not sound")
    assert engine.requests == []
