"""All slash commands: finding and running one, and /help."""

from __future__ import annotations

from gemma_cli.core.errors import UsageError
from gemma_cli.repl.chat import Chat
from gemma_cli.repl.line.parse import Command, nearest
from gemma_cli.repl.slash import attachments, conversation, exchange, sessions
from gemma_cli.repl.slash.table import Slash, SlashTable

TABLE = SlashTable()


def offered(chat: Chat) -> dict[str, Slash]:
    """Return the commands that the current model can use."""
    media = chat.engine.info.modalities
    return {name: slash for name, slash in TABLE.items() if not slash.needs or slash.needs in media}


def run(chat: Chat, command: Command) -> None:
    """Run a slash command. Raises GemmaError; for an unknown command, with the most similar one."""
    name = {"quit": "exit", "?": "help", "bye": "exit"}.get(command.name, command.name)
    slash = TABLE.get(name)
    if slash is None:
        close = nearest(name, list(offered(chat)))
        remedy = f"did you mean /{close}?" if close else "/help lists all commands"
        raise UsageError(f"/{name} is not a command: {remedy}")
    slash.action(chat, command.rest)


KEYS = """\

Enter sends; Ctrl+J or Alt+Enter makes a new line; Ctrl+G edits in $EDITOR; Ctrl+R searches earlier input
Ctrl+C stops a reply or clears the line; Ctrl+D leaves; Ctrl+O unfolds thoughts; Alt+M shows markdown as written
Ctrl+Z suspends; Ctrl+V attaches a picture from the clipboard; !COMMAND runs in your shell
@FILE in a message, or a file dropped on the terminal, is attached; // or !! begins a message with / or !"""


@TABLE.add("help", "[COMMAND]", "list all commands, or explain one command")
def _help(chat: Chat, rest: str) -> None:
    commands = offered(chat)
    wanted = rest.removeprefix("/")
    if wanted:
        if wanted not in TABLE:
            raise UsageError(f"/{wanted} is not a command: /help lists all commands")
        commands = {wanted: TABLE[wanted]}
    width = max(len(f"{name} {slash.takes}") for name, slash in commands.items())
    chat.tell("\n".join(f"/{f'{name} {slash.takes}':<{width}}  {slash.says}" for name, slash in commands.items()))
    if not wanted:
        chat.tell(KEYS)


for each in (conversation.table, attachments.table, exchange.table, sessions.table):
    TABLE.update(each)
