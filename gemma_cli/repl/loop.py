"""The loop of the interactive chat: read a line and act on it, until the user exits."""

from __future__ import annotations

from collections.abc import Sequence

from gemma_cli.core.errors import GemmaError, InputError, UsageError
from gemma_cli.repl import shell
from gemma_cli.repl.chat import Chat
from gemma_cli.repl.editor import Editor
from gemma_cli.repl.line.mentions import Mention, mentions, named, sent_as_text
from gemma_cli.repl.line.parse import Command, Dropped, Line, Message, Shell, parse
from gemma_cli.repl.slash import commands as slash_commands
from gemma_cli.views.signals import kept_terminal, orderly_exit, silent_input, suspendable


def run(chat: Chat, editor: Editor) -> None:
    """Run the chat. SIGTERM and SIGHUP end it with SystemExit; the terminal is as before in any case."""
    chat.leave = editor.leave
    with orderly_exit(), kept_terminal(), suspendable(), silent_input():
        while not chat.leaving:
            try:
                line = editor.read()
                if line is None:
                    break
                act(chat, line, tuple(editor.pasted))
            except KeyboardInterrupt:  # not during a reply: loading a model, listing sessions
                chat.tell("stopped")
    if chat.session and chat.session.lost:
        chat.keep(chat.conversation)
    if chat.session and chat.session.name and not chat.unsaved:
        chat.tell(f"the chat is saved as '{chat.session.name}'; to continue the chat: gemma chat --continue")


def act(chat: Chat, line: str, pasted: Sequence[str] = ()) -> None:
    """Act on one line; errors are reported, and the chat continues.

    pasted: texts in it that were not typed, in which no path is attached.
    """
    try:
        match meaning(line, pasted):
            case Command() as command:
                slash_commands.run(chat, command)
            case Shell(command):
                if code := shell.run(command):
                    chat.tell(f"exit code {code}")
            case Dropped(files):
                chat.attach(files)
                chat.tell(f"attached to the next message: {', '.join(chat.staged())}")
            case Message(text):
                chat.draft = line
                text = attach_mentioned(chat, text, pasted)
                if text or chat.conversation.staged:
                    chat.ask(text)
                else:
                    chat.draft = ""
    except GemmaError as error:
        refuse(chat, error)


def meaning(line: str, pasted: Sequence[str]) -> Line:
    """Return what a line means; one that was pasted is never run by the shell."""
    meant = parse(line)
    begins = [text.lstrip() for text in pasted if text.lstrip().startswith("!")]
    return Message(line.strip()) if isinstance(meant, Shell) and line.lstrip().startswith(tuple(begins)) else meant


def attach_mentioned(chat: Chat, text: str, pasted: Sequence[str] = ()) -> str:
    """Attach the files that a message mentions, report them, and return the message with their names.

    What a bare path names is sent as text where it cannot be attached. Raises UsageError, InputError for one with @.
    """
    found = mentions(text, pasted)
    before = len(chat.conversation.staged)
    attached: list[Mention] = []
    conversation = chat.conversation
    try:
        for mention in found:
            if not mention.paths:
                raise InputError(f"@{mention.word}: no such file; check the path")
            try:
                chat.attach(mention.paths)
                attached.append(mention)
            except UsageError as error:
                if mention.asked:
                    raise
                chat.tell(f"a file is not attached and its name is sent as plain text: {error}")
    except GemmaError:
        chat.conversation = conversation
        raise
    if new := chat.staged()[before:]:
        chat.tell(f"attached: {', '.join(new)}")
    for path in sent_as_text(text, pasted):
        chat.tell(f"{path} is sent as plain text; to attach the file, write @{path}")
    return named(text, attached)


def refuse(chat: Chat, error: GemmaError) -> None:
    """Show why a line was not carried out, as the last thing on the screen: a long draft would push it off the top."""
    rows = sum(len(line) // chat.err.width + 1 for line in chat.draft.split("\n"))
    if rows > chat.err.height // 2:
        chat.draft = ""
        chat.tell(f"the message of {rows:,} rows was not sent; to edit the message, press Up and then Ctrl+G")
    chat.complain(error)
