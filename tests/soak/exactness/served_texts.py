"""Mixed requests at several loads, clients vanishing at random: each finished text is the one it has alone."""

import psutil

from tests.serve.load import mixed, run
from tests.serve.server import Server, served
from tests.soak.outcome import Outcome

PROMISE = "A reply of the server does not depend on load"


def trial(scale: float) -> Outcome:
    """Ask 2,000 mixed requests alone, then at 1, 4, 16 and 64 at once."""
    bodies = mixed(max(8, round(2000 * scale)), seed=14)
    failures = []
    tried = 0
    with served("--max-queue", "100", "--max-running", "16") as server:
        run(server, bodies[:64], at_once=64)  # at its largest once, so that only what is lost shows as growth
        alone = run(server, bodies, at_once=1)
        memory = _memory(server)
        for at_once in (1, 4, 16, 64):
            among = run(server, bodies, at_once, vanishing=0.2, seed=at_once)
            finished = [index for index, text in among.items() if text is not None]
            tried += len(finished)
            failures += [f"at {at_once}: {bodies[i]}" for i in finished if among[i] != alone[i]]
            if not server.reaches(running=0, waiting=0):
                failures.append(f"at {at_once}: places are not given back: {server.health()}")
        grown = _memory(server) / memory - 1
        tracebacks = server.log.read_text().count("Traceback")
    if tracebacks:
        failures.append(f"{tracebacks} tracebacks")
    return Outcome(tried, failures, f"memory {grown:+.1%}")


def _memory(server: Server) -> int:
    """Resident bytes of the server."""
    found: int = psutil.Process(server.process.pid).memory_info().rss
    return found
