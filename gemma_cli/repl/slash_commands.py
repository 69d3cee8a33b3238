"""The slash commands: one small function each, in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from gemma_cli.common.attachments import Attachable
from gemma_cli.common.text_input import system_prompt
from gemma_cli.core import summaries
from gemma_cli.core.conversation import opening_words
from gemma_cli.core.errors import UsageError
from gemma_cli.repl import clipboard, shown
from gemma_cli.repl.chat import Chat
from gemma_cli.repl.compact import summary_notice, writer
from gemma_cli.repl.figures import context_figures, reply_figures
from gemma_cli.repl.line.parse import Command, as_typed, nearest
from gemma_cli.repl.line.paths import paths
from gemma_cli.repl.settings import KNOBS, changed, knob_named, reseeded, thinking
from gemma_cli.store import export
from gemma_cli.store.search import match_line, phrases_in, search
from gemma_cli.store.sessions import SessionStore

Action = Callable[[Chat, str], None]


@dataclass(frozen=True)
class Slash:
    """takes: its argument as help shows it; says: what it does; needs: the modality it is offered for."""

    action: Action
    takes: str
    says: str
    needs: str = ""


TABLE: dict[str, Slash] = {}


def _slash(name: str, takes: str, says: str, needs: str = "") -> Callable[[Action], Action]:
    def enter(action: Action) -> Action:
        TABLE[name] = Slash(action, takes, says, needs)
        return action

    return enter


def offered(chat: Chat) -> dict[str, Slash]:
    """The commands that make sense with the model at hand."""
    media = chat.engine.info.modalities
    return {name: slash for name, slash in TABLE.items() if not slash.needs or slash.needs in media}


def run(chat: Chat, command: Command) -> None:
    """Run a slash command. Raises GemmaError; an unknown one is told with the nearest there is."""
    name = {"quit": "exit", "?": "help", "bye": "exit"}.get(command.name, command.name)
    slash = TABLE.get(name)
    if slash is None:
        close = nearest(name, list(offered(chat)))
        raise UsageError(f"/{name} is no command: " + (f"did you mean /{close}?" if close else "/help lists them"))
    slash.action(chat, command.rest)


# --- the chat itself ------------------------------------------------------------------------------------------------


@_slash("help", "[COMMAND]", "this list, or more about one command")
def _help(chat: Chat, rest: str) -> None:
    commands = offered(chat)
    wanted = rest.removeprefix("/")
    if wanted:
        if wanted not in TABLE:
            raise UsageError(f"/{wanted} is not a command: /help lists them")
        commands = {wanted: TABLE[wanted]}
    width = max(len(f"{name} {slash.takes}") for name, slash in commands.items())
    chat.tell("\n".join(f"/{f'{name} {slash.takes}':<{width}}  {slash.says}" for name, slash in commands.items()))
    if not wanted:
        chat.tell(KEYS)


KEYS = """\

Enter sends; Ctrl+J or Alt+Enter makes a new line; Ctrl+G edits in $EDITOR; Ctrl+R searches earlier input
Ctrl+C stops a reply or clears the line; Ctrl+D leaves; Ctrl+O unfolds thoughts; Alt+M shows markdown as written
Ctrl+Z suspends; Ctrl+V attaches a picture from the clipboard; !COMMAND runs in your shell
@FILE in a message, or a file dropped on the terminal, is attached; // or !! begins a message with / or !"""


@_slash("exit", "", "leave; so does Ctrl+D")
def _exit(chat: Chat, rest: str) -> None:
    chat.leaving = True


@_slash("new", "[NAME]", "start another chat; this one stays in /sessions")
def _new(chat: Chat, rest: str) -> None:
    session = chat.store.new(rest or None) if chat.store else None
    chat.begin(session, chat.conversation.cleared())
    chat.tell("a new chat")


@_slash("clear", "", "start another chat on an empty screen")
def _clear(chat: Chat, rest: str) -> None:
    _new(chat, "")
    chat.err.clear()


@_slash("system", "[TEXT|@FILE|off]", "show, set or remove the system prompt")
def _system(chat: Chat, rest: str) -> None:
    if rest:
        chat.conversation = chat.conversation.instructed("" if rest == "off" else system_prompt(rest))
    chat.tell(f"system prompt: {chat.conversation.system}" if chat.conversation.system else "no system prompt")


@_slash("think", "on|off|auto", "whether the model thinks before it answers; auto: as the chat began")
def _think(chat: Chat, rest: str) -> None:
    if rest not in ("on", "off", "auto", ""):
        raise UsageError(f"/think takes on, off or auto, not '{rest}'")
    if rest:
        chat.settings = thinking(chat.settings, chat.thinks if rest == "auto" else rest == "on")
    chat.tell(f"thinking is {'on' if chat.settings.thinking else 'off'}")


@_slash("set", "[NAME VALUE]", f"show or change {', '.join(KNOBS)}")
def _set(chat: Chat, rest: str) -> None:
    name, _, value = rest.replace("=", " ").partition(" ")
    if value.strip():
        chat.settings = changed(chat.settings, name, value.strip())
    names = [name.replace("_", "-")] if name else list(KNOBS)
    chat.tell("\n".join(f"{name} {knob_named(name).get(chat.settings)} ({knob_named(name).says})" for name in names))


@_slash("model", "[NAME]", "show the model, or switch to another")
def _model(chat: Chat, rest: str) -> None:
    if rest:
        chat.tell(f"loading {rest}")
        chat.switch(rest)
    info = chat.engine.info
    takes = ", ".join(["text", *sorted(info.modalities)])
    form = f" in {info.dtype}, drafter {info.assistant or 'none'}" if info.dtype else ""  # a server's are not known
    chat.tell(f"{info.model} on {info.device}{form}, context {info.context:,} tokens; takes {takes}")


# --- attachments ----------------------------------------------------------------------------------------------------


def _attacher(name: str, kind: Attachable | None) -> Action:
    def attach(chat: Chat, rest: str) -> None:
        if not rest:
            raise UsageError(f"/{name} takes the path of a file")
        chat.attach(paths(rest), kind)
        chat.tell(f"attached to the next message: {', '.join(chat.staged())}")

    return attach


_slash("attach", "FILE...", "attach a file of any kind to the next message, as @FILE in a message does")(
    _attacher("attach", None)
)
_slash("image", "FILE...", "attach pictures to the next message", "image")(_attacher("image", "image"))
_slash("audio", "FILE...", "attach sound to the next message", "audio")(_attacher("audio", "audio"))
_slash("video", "FILE...", "attach videos to the next message", "video")(_attacher("video", "video"))
_slash("read", "FILE...", "attach texts and PDFs to the next message")(_attacher("read", "text"))


@_slash("paste", "", "attach the picture in the clipboard to the next message; so does Ctrl+V", "image")
def _paste(chat: Chat, rest: str) -> None:
    chat.stage(clipboard.picture())
    chat.tell(f"attached to the next message: {', '.join(chat.staged())}")


_slash("show", "[NUMBER]", "show thumbnails of the attachments, or of those sent last", "image")(shown.show)


@_slash("drop", "[NUMBER]", "remove all attachments of the next message, or one")
def _drop(chat: Chat, rest: str) -> None:
    try:
        chat.conversation = chat.conversation.dropping(int(rest) - 1 if rest else None)
    except (IndexError, ValueError):
        names = ", ".join(f"{number} {name}" for number, name in enumerate(chat.staged(), 1)) or "nothing"
        raise UsageError(f"/drop {rest}: staged is {names}") from None
    chat.tell(f"attached to the next message: {', '.join(chat.staged()) or 'nothing'}")


# --- the last exchange ----------------------------------------------------------------------------------------------


@_slash("retry", "", "generate another reply to the last message, with the next seed")
def _retry(chat: Chat, rest: str) -> None:
    chat.conversation.without_reply()  # raises before the seed is changed
    if chat.settings.sampling.temperature:
        chat.settings = reseeded(chat.settings)
        chat.tell(f"seed {chat.settings.sampling.seed}")
    else:
        chat.tell("the temperature is 0: the reply will be the same; /set temperature 1 makes it vary")
    chat.again()


@_slash("undo", "", "take back the last message and its reply")
def _undo(chat: Chat, rest: str) -> None:
    chat.conversation, message = chat.conversation.without_exchange()
    chat.keep(chat.conversation)
    chat.tell(f"taken back: {opening_words(message)}")


@_slash("edit", "", "edit the last message and send it again")
def _edit(chat: Chat, rest: str) -> None:
    chat.conversation, text = chat.conversation.rewriting()
    chat.draft = as_typed(text)


@_slash("copy", "[code|NUMBER]", "copy the last reply to the clipboard; code: its last code block, 1: its first")
def _copy(chat: Chat, rest: str) -> None:
    replies = [entry.message for entry in chat.conversation.entries if entry.message.role == "assistant"]
    if not replies:
        raise UsageError("/copy: there is no reply yet")
    text = replies[-1].text
    chat.tell(clipboard.copy(clipboard.chosen_block(text, rest) if rest else text, chat.err.file))


@_slash("stats", "", "show speed and acceptance of the last reply")
def _stats(chat: Chat, rest: str) -> None:
    turn = chat.last
    if turn is None:
        raise UsageError("/stats: there is no reply yet")
    chat.tell(reply_figures(turn))


@_slash("tokens", "", "show how full the context is")
def _tokens(chat: Chat, rest: str) -> None:
    chat.tell(context_figures(chat.conversation, chat.space))


@_slash(
    "compact", "[auto|off]", "replace earlier messages by a summary of the model; auto: whenever the context is full"
)
def _compact(chat: Chat, rest: str) -> None:
    if rest not in ("", "auto", "off"):
        raise UsageError(f"/compact takes auto, off or nothing, not '{rest}'")
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
    chat.tell(f"{before:,} tokens of context before, about {chat.conversation.size():,} now")


# --- sessions -------------------------------------------------------------------------------------------------------


def _store(chat: Chat) -> SessionStore:
    if chat.store is None:
        raise UsageError("this chat is not saved (--no-save); /export FILE writes it")
    return chat.store


@_slash("save", "[NAME]", "name this chat (every chat is saved after each turn)")
def _save(chat: Chat, rest: str) -> None:
    store = _store(chat)
    if chat.session is None:
        chat.session = store.new()
    if rest:
        chat.session.rename(rest)
    chat.keep(chat.conversation)
    chat.tell(f"saved as '{chat.session.name}'" if chat.session.name else "there is nothing to save yet")


@_slash("load", "NAME", "continue a saved chat")
def _load(chat: Chat, rest: str) -> None:
    store = _store(chat)
    if not rest:
        raise UsageError("/load takes the name of a session: /sessions lists them")
    chat.begin(*store.load(rest))
    chat.recap()


@_slash("sessions", "", "list the saved chats, latest first")
def _sessions(chat: Chat, rest: str) -> None:
    found = _store(chat).list()
    chat.tell("\n".join(f"{s.name}  {s.messages} messages  {s.said_at[:10]}  {s.opening}" for s in found) or "none yet")


@_slash("history", "[WORDS]", "list the messages of this chat, or those of all saved chats with these words")
def _history(chat: Chat, rest: str) -> None:
    if rest:
        found = search(_store(chat), phrases_in(rest))
        lines = [match_line(match) for match in found]
        chat.tell("\n".join([*lines, "/load NAME continues one"]) if lines else f"no saved chat contains {rest}")
        return
    entries = enumerate(chat.conversation.entries, 1)
    lines = [f"{number}  {entry.message.role}: {opening_words(entry.message)}" for number, entry in entries]
    chat.tell("\n".join(lines) or "nothing yet")


@_slash("export", "FILE", "write this chat to a file: markdown, or JSON if it ends in .json")
def _export(chat: Chat, rest: str) -> None:
    if not rest:
        raise UsageError("/export takes a file: chat.md or chat.json")
    path = Path(paths(rest)[0])
    export.write(path, (chat.session.name if chat.session else None) or "chat", chat.conversation)
    chat.tell(f"written to {path}")
