"""Commands about the last message and its reply, and about the context."""

from __future__ import annotations

from dataclasses import replace

from gemma_cli.core import summaries
from gemma_cli.core.conversation import opening_words
from gemma_cli.core.errors import UsageError
from gemma_cli.repl import clipboard
from gemma_cli.repl.chat import Chat
from gemma_cli.repl.context import summary_notice, writer
from gemma_cli.repl.line.parse import as_typed
from gemma_cli.repl.settings import reseeded
from gemma_cli.repl.slash.figures import context_figures, reply_figures
from gemma_cli.repl.slash.table import SlashTable

table = SlashTable()


@table.add("retry", "", "generate another reply to the last message, with the next seed")
def _retry(chat: Chat, rest: str) -> None:
    chat.conversation.without_reply()  # raises before the seed is changed
    if chat.settings.sampling.temperature:
        chat.settings = reseeded(chat.settings)
        chat.tell(f"seed {chat.settings.sampling.seed}")
    else:
        chat.tell("the temperature is 0, so the reply will be the same; for another reply, type /set temperature 1")
    chat.again()


@table.add("undo", "", "remove the last message and the reply")
def _undo(chat: Chat, rest: str) -> None:
    chat.conversation, message = chat.conversation.without_exchange()
    chat.keep(chat.conversation)
    chat.tell(f"removed: {opening_words(message)}")


@table.add("edit", "", "edit the last message and send the new version")
def _edit(chat: Chat, rest: str) -> None:
    chat.conversation, text = chat.conversation.rewriting()
    chat.draft = as_typed(text)


@table.add(
    "copy", "[code|NUMBER]", "copy the last reply to the clipboard; code copies only the last code block, 1 the first"
)
def _copy(chat: Chat, rest: str) -> None:
    replies = [entry.message for entry in chat.conversation.entries if entry.message.role == "assistant"]
    if not replies:
        raise UsageError("/copy: this chat has no reply yet")
    text = replies[-1].text
    chat.tell(clipboard.copy(clipboard.chosen_block(text, rest) if rest else text, chat.err.file))


@table.add("stats", "", "show speed and acceptance of the last reply")
def _stats(chat: Chat, rest: str) -> None:
    turn = chat.last
    if turn is None:
        raise UsageError("/stats: this chat has no reply yet")
    chat.tell(reply_figures(turn))


@table.add("tokens", "", "show how full the context is")
def _tokens(chat: Chat, rest: str) -> None:
    chat.tell(context_figures(chat.conversation, chat.space))


@table.add(
    "compact", "[auto|off]", "replace earlier messages with a summary; auto does so whenever the context is full"
)
def _compact(chat: Chat, rest: str) -> None:
    if rest not in ("", "auto", "off"):
        raise UsageError(f"/compact {rest}: give auto, off or nothing")
    if rest:
        chat.settings = replace(chat.settings, summarize=rest == "auto")
        chat.tell(
            "when the context is full: " + ("summarized" if rest == "auto" else "the oldest messages are dropped")
        )
        return
    before, write = chat.conversation.size(), writer(chat.engine, chat.tell)
    chat.conversation = summaries.compact(
        chat.conversation, chat.engine.info.model, chat.space, chat.settings.drafting, write
    )
    chat.keep(chat.conversation)
    chat.tell(summary_notice(chat.conversation))
    chat.tell(f"the context had {before:,} tokens and now has about {chat.conversation.size():,} tokens")
