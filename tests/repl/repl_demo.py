"""The chat over a scripted engine, to be driven through a terminal: python repl_demo.py FOLDER [PAUSE]."""

import sys
from pathlib import Path

import numpy as np

from gemma_cli.core.messages import Drafting, Image, Sampling, Text
from gemma_cli.engines.scripted import Reply, ScriptedEngine
from gemma_cli.repl.chat import Chat, ChatHost
from gemma_cli.repl.editor import Editor, history_at
from gemma_cli.repl.loop import run
from gemma_cli.repl.settings import Settings
from gemma_cli.store.sessions import SessionStore
from gemma_cli.views.console import terminal

LINES = "  \n".join(f"line {i:03d} of a long answer" for i in range(120))
REPLIES = [
    Reply("The **first** answer.", thinking="I wonder.\nWhat to say?"),
    Reply(LINES, thinking="Much to say."),
    Reply("```python\nprint('third')\n```", thinking="Code."),
]


def read(kind, path):
    name = Path(path).name
    return (
        Text(f"{name}:\n{Path(path).read_text()}")
        if kind == "text"
        else Image(path, name, np.zeros((2, 2, 3), np.uint8))
    )


def main(folder: str, pause: str = "0") -> None:
    store = SessionStore.open(Path(folder) / "sessions.db")
    engine = ScriptedEngine(REPLIES, accepted=(1, 0), pause=float(pause))
    settings = Settings(Sampling(seed=7), Drafting(), thinking=True)
    outside = ChatHost(read, open_model=lambda name: engine)
    chat = Chat(engine, settings, terminal(sys.stdout), terminal(sys.stderr), outside, store=store, session=store.new())
    run(chat, Editor(chat, history_at(Path(folder) / "history")))


if __name__ == "__main__":
    main(*sys.argv[1:])
