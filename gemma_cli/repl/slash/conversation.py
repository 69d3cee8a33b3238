"""Commands about the chat itself: its end, a new one, the system prompt, settings and the model."""

from __future__ import annotations

from gemma_cli.common.text_input import system_prompt
from gemma_cli.core.errors import UsageError
from gemma_cli.repl.chat import Chat
from gemma_cli.repl.settings import KNOBS, changed, knob_named, thinking
from gemma_cli.repl.slash.table import SlashTable

table = SlashTable()


@table.add("exit", "", "leave; so does Ctrl+D")
def _exit(chat: Chat, rest: str) -> None:
    chat.leaving = True


@table.add("new", "[NAME]", "start a new chat; the current chat stays in /sessions")
def _new(chat: Chat, rest: str) -> None:
    session = chat.store.new(rest or None) if chat.store else None
    chat.begin(session, chat.conversation.cleared())
    chat.tell("a new chat")


@table.add("clear", "", "clear the screen and start a new chat")
def _clear(chat: Chat, rest: str) -> None:
    _new(chat, "")
    chat.err.clear()


@table.add("system", "[TEXT|@FILE|off]", "show, set or remove the system prompt")
def _system(chat: Chat, rest: str) -> None:
    if rest:
        chat.conversation = chat.conversation.instructed("" if rest == "off" else system_prompt(rest))
    chat.tell(f"system prompt: {chat.conversation.system}" if chat.conversation.system else "no system prompt")


@table.add("think", "on|off|auto", "turn thinking on or off; auto restores the setting from the start of the chat")
def _think(chat: Chat, rest: str) -> None:
    if rest not in ("on", "off", "auto", ""):
        raise UsageError(f"/think {rest}: give on, off or auto")
    if rest:
        chat.settings = thinking(chat.settings, chat.thinks if rest == "auto" else rest == "on")
    chat.tell(f"thinking is {'on' if chat.settings.thinking else 'off'}")


@table.add("set", "[NAME VALUE]", f"show or change {', '.join(KNOBS)}")
def _set(chat: Chat, rest: str) -> None:
    name, _, value = rest.replace("=", " ").partition(" ")
    if value.strip():
        chat.settings = changed(chat.settings, name, value.strip())
    names = [name.replace("_", "-")] if name else list(KNOBS)
    chat.tell("\n".join(f"{name} {knob_named(name).get(chat.settings)} ({knob_named(name).says})" for name in names))


@table.add("model", "[NAME]", "show the model, or switch to another model")
def _model(chat: Chat, rest: str) -> None:
    if rest:
        chat.tell(f"loading {rest}")
        chat.switch(rest)
    info = chat.engine.info
    takes = ", ".join(["text", *sorted(info.modalities)])
    form = f" in {info.dtype} with drafter {info.assistant or 'none'}" if info.dtype else ""  # a server's are not known
    chat.tell(f"{info.model} on {info.device}{form}, context of {info.context:,} tokens; accepts {takes}")
