"""The chat over a scripted engine, to be driven through a terminal: python repl_demo.py FOLDER [PAUSE].

Replies come with pauses until there is a file FOLDER/hurry.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma_cli.common.attachments import attachment
from gemma_cli.core.messages import Drafting, Sampling
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


@dataclass
class PacedEngine(ScriptedEngine):
    """Pauses until there is a file `hurry`."""

    hurry: Path = Path()

    def _rounds(self, *arguments: Any) -> Iterator[Any]:
        for one in super()._rounds(*arguments):
            if self.hurry.exists():
                self.pause = 0.0
            yield one


def main(folder: str, pause: str = "0") -> None:
    store = SessionStore.open(Path(folder) / "sessions.db")
    engine = PacedEngine(REPLIES, accepted=(1, 0), pause=float(pause), hurry=Path(folder) / "hurry")
    settings = Settings(Sampling(seed=7), Drafting(), thinking=True)
    outside = ChatHost(attachment, open_model=lambda name: engine)
    chat = Chat(engine, settings, terminal(sys.stdout), terminal(sys.stderr), outside, store=store, session=store.new())
    run(chat, Editor(chat, history_at(Path(folder) / "history")))


if __name__ == "__main__":
    main(*sys.argv[1:])
