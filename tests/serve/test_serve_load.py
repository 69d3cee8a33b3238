"""Many clients at once: every text is the one it has alone, and whoever vanishes leaves nothing behind."""

from __future__ import annotations

from tests.serve.load import mixed, run
from tests.serve.server import Server


def test_texts_do_not_depend_on_load(server: Server) -> None:
    requests = mixed(24, seed=3)
    alone = run(server, requests, at_once=1)
    among = run(server, requests, at_once=4, vanishing=0.25)
    finished = {index for index, text in among.items() if text is not None}
    assert len(finished) >= 12
    assert {index: among[index] for index in finished} == {index: alone[index] for index in finished}
    assert server.reaches(running=0, waiting=0)
    assert server.health()["status"] == "ok"
