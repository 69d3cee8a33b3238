"""Bodies that were damaged on purpose: each gets an answer, and never an error of the server's own."""

import random

from tests.serve.hostile import hostile_body
from tests.serve.server import chat, served
from tests.soak.outcome import Outcome

PROMISE = "No body of a request makes the server fail"


def trial(scale: float) -> Outcome:
    """Send 2,000 hostile bodies, then an ordinary request."""
    dice = random.Random(1)
    tried = round(2000 * scale)
    failures = []
    statuses: dict[int, int] = {}
    with served() as server, server.client() as client:
        for _ in range(tried):
            path, content = hostile_body(dice)
            status = client.post(path, content=content).status_code
            statuses[status] = statuses.get(status, 0) + 1
            if status >= 500 and status != 503:
                failures.append(f"{status}: {content[:200]!r}")
        if client.post("/v1/chat/completions", json=chat("Hello")).status_code != 200:
            failures.append("it answers no more")
        if "Traceback" in server.log.read_text():
            failures.append("a traceback in the log")
    return Outcome(tried, failures, f"by status: {dict(sorted(statuses.items()))}")
