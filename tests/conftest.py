"""What makes the tests say the same on every machine, however slow or busy it is."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import tempfile

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.cli.helpers.installed"]


def pytest_collection_finish() -> None:
    """Keep the garbage collector off what was imported: looking through torch took a third of some tests' time."""
    gc.collect()
    gc.freeze()


# Before torch is imported; programs that the tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before Triton is imported, where it is installed: its kernels run in its interpreter, on the CPU.
os.environ.setdefault("TRITON_INTERPRET", "1")

# Programs are quiet where these are set, as they are in continuous integration.
for name in ("CI", "AI_AGENT"):
    os.environ.pop(name, None)

# Servers that hold a model for the commands of whoever runs the tests are none of theirs. pytest's own folders have
# names that are longer than a socket's may be.
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="gemma")
atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)

# A shell starts what it puts in the background deaf to Ctrl-C, and nohup deaf to a hang-up; every program started from
# there would be too.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The same examples every time, none of them timed.
settings.register_profile(
    "steady", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# pytest --hypothesis-profile random looks for new ones.
settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")
