"""A running chat: the conversation, the engine it is held with, where it is kept, and one way to get a reply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

from rich.console import Console

from gemma_cli.common.attachments import Attachable
from gemma_cli.core import fitting
from gemma_cli.core.conversation import Conversation, opening_words, part_name
from gemma_cli.core.engine import Engine
from gemma_cli.core.errors import GemmaError, UsageError
from gemma_cli.core.events import Event, Turn, collect
from gemma_cli.core.messages import Image, Part, ToolCall, ToolResponse
from gemma_cli.repl.context import fitted, space_for
from gemma_cli.repl.line.parse import as_typed
from gemma_cli.repl.reply_view import reply_view, show_reply
from gemma_cli.repl.settings import Settings
from gemma_cli.repl.toolbar import Status
from gemma_cli.store.sessions import Session, SessionStore
from gemma_cli.tools import Toolbox
from gemma_cli.tools.calls import Permission, ToolRounds, ToolRunner, longest_answer
from gemma_cli.views.sanitize import safe_line
from gemma_cli.views.signals import Cancellation
from gemma_cli.views.tool_calls import answer_line, call_line


@dataclass(frozen=True)
class ChatHost:
    """Functions that a chat needs from its command. All raise GemmaError.

    read: reads an attachment from a path; its second argument is the expected kind, None for any.
    open_model: opens another engine by name.
    models: lists the names that open_model accepts.
    heard: receives every finished reply.
    """

    read: Callable[[str, Attachable | None], Part]
    open_model: Callable[[str], Engine]
    models: Callable[[], list[str]] = list
    heard: Callable[[Turn], None] = lambda turn: None


@dataclass
class Chat:
    """A running chat.

    out: the console for replies.
    err: the console for notices.
    session: the saved chat; None if the chat is not saved.
    leave: asks whether a tool may be called; run() sets it to the editor's question.
    draft: text that the next input line starts with.
    """

    engine: Engine
    settings: Settings
    out: Console
    err: Console
    outside: ChatHost
    conversation: Conversation = field(default_factory=Conversation)
    store: SessionStore | None = None
    session: Session | None = None
    box: Toolbox = field(default_factory=Toolbox)
    leave: Callable[[], Permission] = lambda: "no"
    last: Turn | None = None
    draft: str = ""
    leaving: bool = False
    unsaved: bool = False  # saving failed, and the user was warned
    thinks: bool = field(init=False)  # the value that /think auto restores

    def __post_init__(self) -> None:
        self.thinks = self.settings.thinking

    # Telling --------------------------------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        """Print a notice, which cannot drive the terminal."""
        for line in text.split("\n"):
            self._notice(safe_line(line), "dim")

    def complain(self, error: GemmaError) -> None:
        """Print an error."""
        self._notice(safe_line(str(error)), "red")

    def _notice(self, line: str, style: str) -> None:
        """Print a line; a terminal breaks it between words, a file gets it as it is."""
        whole = not self.err.is_terminal
        self.err.print(line, style=style, markup=False, highlight=False, emoji=False, soft_wrap=whole)

    @property
    def status(self) -> Status:
        settings = self.settings
        flags = [name for name, on in (("thinking", settings.thinking), ("raw", settings.raw)) if on]
        info = self.engine.info
        return Status(safe_line(info.model), self.conversation.size(), info.context, self.last, tuple(flags))

    @property
    def space(self) -> fitting.Space:
        """Return the space for prompts with the current model and settings."""
        return space_for(self.engine, self.settings)

    @property
    def thoughts(self) -> list[str]:
        """Return the thoughts of all replies that have some, oldest first."""
        messages = (entry.message for entry in self.conversation.entries)
        return [message.thinking for message in messages if message.thinking.strip()]

    # Attaching ------------------------------------------------------------------------------------------------------

    def attach(self, paths: Iterable[str], kind: Attachable | None = None) -> None:
        """Stage files for the next message: all of them, or none if one cannot be read. What is staged already stays as
        it is.

        kind: what they have to be; None takes them for what they are. Raises UsageError for a medium the model does not
        take, InputError.
        """
        conversation = self.conversation
        for path in paths:
            self._check_taken(path, kind or "text")
            part = self.outside.read(path, kind)
            self._check_taken(path, type(part).__name__.lower())
            if part not in conversation.staged:
                conversation = conversation.staging(part)
        self.conversation = conversation

    def stage(self, picture: Image) -> None:
        """Stage a picture that is not in a file. Raises UsageError for a model that takes none."""
        self._check_taken(picture.name, "image")
        if picture not in self.conversation.staged:
            self.conversation = self.conversation.staging(picture)

    def _check_taken(self, path: str, kind: str) -> None:
        info = self.engine.info
        if kind != "text" and kind not in info.modalities:
            takes = ", ".join(["text", *sorted(info.modalities)])
            raise UsageError(f"{path}: {info.model} accepts no {kind}, only {takes}; choose another model with /model")

    def staged(self) -> list[str]:
        """The names of what goes with the next message."""
        return [safe_line(part_name(part)) for part in self.conversation.staged]

    # Asking ---------------------------------------------------------------------------------------------------------

    def ask(self, text: str) -> None:
        """Send `text` with all staged attachments, and get the reply."""
        before, self.draft = self.conversation, as_typed(text)
        asked = self._fitted(before.saying(text))
        self.keep(asked)
        self._hear(asked, before)

    def again(self) -> None:
        """Another reply to the last message; the old one stays until there is a new one."""
        before, self.draft = self.conversation, ""
        self._hear(self._fitted(before.without_reply()), before)

    def _fitted(self, asked: Conversation) -> Conversation:
        return fitted(asked, self.engine, self.settings, self.tell)

    def _hear(self, asked: Conversation, before: Conversation) -> None:
        """Get a reply to `asked`, over as many rounds as it calls tools.

        If there is none, all is as `before` and the draft is on the line again.
        """
        reached = before
        info = self.engine.info
        rounds = ToolRounds(ToolRunner(self.box, self._may, self._tell_call, longest_answer(info.context)))
        try:
            while True:
                asked = self._fitted(asked)
                turn = self._draw(asked)
                asked = asked.hearing(turn, info.model)
                if asked.entries[-1].message.role == "user":
                    break  # cancelled before the first word
                reached = self._go_on(asked)
                self._heard(turn)
                if not (answers := rounds.answers(turn)):
                    break
                asked = reached = self._go_on(asked.answering(answers))
                rounds.check(turn)
        except GemmaError:
            self.keep(reached)
            raise
        if reached is before:
            self.tell(
                "the reply was cancelled before the first "
                "word" + ("; your message is back on the input line" * bool(self.draft))
            )
            self.keep(before)

    def _go_on(self, conversation: Conversation) -> Conversation:
        """Continue with `conversation`, and save it."""
        self.conversation, self.draft = conversation, ""
        self.keep(conversation)
        return conversation

    def _heard(self, turn: Turn) -> None:
        self.last = turn
        self.outside.heard(turn)
        if turn.finish_reason == "length":
            limit = self.settings.sampling.max_tokens
            self.tell(
                f"the reply was cut off at max-tokens ({limit}); for longer replies, type /set max-tokens {2 * limit}"
            )

    def _draw(self, conversation: Conversation) -> Turn:
        """Draw the reply as it streams. What was said before the program is ended, or its terminal goes, is kept."""
        settings = self.settings
        request = conversation.request(settings.sampling, settings.drafting, settings.thinking)
        request = replace(request, thinking_budget=settings.thinking_budget)
        said: list[Event] = []
        try:
            with Cancellation() as cancellation, closing(self.engine.stream(request)) as events:
                turn = reply_view(self.out, self.settings).draw(cancellation.stream(noted(events, said)))
        except GemmaError:
            raise
        except BaseException:
            self.keep(conversation.hearing(collect(said), self.engine.info.model))
            raise
        if turn.text or turn.thinking or not (turn.tool_calls or turn.unreadable_calls):
            self.out.print()
        return turn

    def _tell_call(self, call: ToolCall, answer: ToolResponse | None) -> None:
        self.tell(f"  {answer_line(answer)}" if answer else call_line(call))

    def _may(self, call: ToolCall) -> Permission:
        self.tell(call_line(call))
        return self.leave()

    def recap(self) -> None:
        """Print the end of the chat: the last message and its reply."""
        entries = self.conversation.entries
        if not entries:
            return
        self.tell(
            f"continuing '{self.session.name if self.session else 'this chat'}' "
            f"with {len(entries)} messages; the last message:"
        )
        asked = next((entry.message for entry in reversed(entries) if entry.message.role == "user"), None)
        if asked:
            self.tell(f"> {opening_words(asked, 200)}")
        if entries[-1].message.role == "assistant":
            show_reply(self.out, self.settings, entries[-1])
            self.out.print()

    # Keeping --------------------------------------------------------------------------------------------------------

    def keep(self, conversation: Conversation) -> None:
        """Save the chat. If that fails, the chat continues, with one notice."""
        if self.session is None:
            return
        try:
            line = self.session.save(conversation)
        except GemmaError as error:
            if not self.unsaved:
                self.complain(error)
                self.tell("the chat can continue, but is not saved; to save a copy, type /export FILE")
            self.unsaved = True
            return
        if self.unsaved:
            self.tell("this chat is saved again from now on")
        self.unsaved = False
        if line:
            self.tell(line)

    def begin(self, session: Session | None, conversation: Conversation) -> None:
        """Go on with another conversation."""
        self.session, self.last, self.unsaved = session, None, False
        if session and (line := session.hold()):
            self.tell(line)
        conversation = replace(conversation, tools=self.box.declarations)
        self.conversation = conversation.counted_by(self.engine.info.model)

    def switch(self, name: str) -> None:
        """Talk to another model from here on. Raises GemmaError, and stays with this one, if that cannot be opened."""
        self.engine = self.outside.open_model(name)
        self.conversation = self.conversation.recounted()
        self.last = None


def noted(events: Iterable[Event], said: list[Event]) -> Iterator[Event]:
    """Yield `events`, and append each to `said`."""
    for event in events:
        said.append(event)
        yield event
