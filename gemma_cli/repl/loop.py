"""Read a line, do what it says, until the user leaves."""

from __future__ import annotations

from gemma_cli.core.errors import GemmaError
from gemma_cli.repl import slash_commands
from gemma_cli.repl.chat import Chat
from gemma_cli.repl.editor import Editor
from gemma_cli.repl.parse import Command, Dropped, Message, parse
from gemma_cli.views.signals import kept_terminal, orderly_exit, silent_input


def run(chat: Chat, editor: Editor) -> None:
    """The whole chat. SIGTERM and SIGHUP end it with SystemExit; the terminal is as before in any case."""
    chat.leave = editor.leave
    with orderly_exit(), kept_terminal(), silent_input():
        while not chat.leaving:
            try:
                line = editor.read()
                if line is None:
                    break
                act(chat, line)
            except KeyboardInterrupt:  # while nothing was being said: loading a model, listing sessions
                chat.tell("stopped")
    if chat.session and chat.session.lost:
        chat.keep(chat.conversation)
    if chat.session and chat.session.name and not chat.unsaved:
        chat.tell(f"saved as '{chat.session.name}': gemma chat --continue goes on with it")


def act(chat: Chat, line: str) -> None:
    """Do what one line says; what goes wrong is told, and the chat goes on."""
    try:
        match parse(line):
            case Command() as command:
                slash_commands.run(chat, command)
            case Dropped(files):
                for kind, path in files:
                    chat.attach(kind, path)
                chat.tell(f"goes with the next message: {', '.join(chat.staged())}")
            case Message(text):
                if text or chat.conversation.staged:
                    chat.ask(text)
    except GemmaError as error:
        chat.complain(error)
