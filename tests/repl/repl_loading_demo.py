"""The chat after a wait in which keys are typed: python repl_loading_demo.py FOLDER."""

import select
import sys

from repl_demo import main

from gemma_cli.views.signals import silent_input


def typed() -> None:
    """Wait until something was."""
    select.select([sys.stdin], [], [])


print("starting", flush=True)
typed()
with silent_input():
    print("loading", flush=True)
    typed()
    main(sys.argv[1])
