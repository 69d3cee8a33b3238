"""The line a message is typed on: prompt-toolkit's, with the keys of docs/chat-keys.md."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, is_searching
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import Output, create_output
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import is_dumb_terminal

from gemma_cli.core.conversation import well_formed
from gemma_cli.core.errors import GemmaError
from gemma_cli.media.samples import is_file
from gemma_cli.repl import clipboard
from gemma_cli.repl.chat import Chat
from gemma_cli.repl.completion import ChatCompleter, completes
from gemma_cli.repl.confirm import ask
from gemma_cli.repl.line.mentions import mentioning
from gemma_cli.repl.line.parse import dropped
from gemma_cli.repl.line.paths import quoted
from gemma_cli.repl.reply_view import show_reply
from gemma_cli.repl.thoughts import Fold
from gemma_cli.repl.toolbar import toolbar
from gemma_cli.store.bounded_read import check_regular
from gemma_cli.tools.calls import Permission
from gemma_cli.views.markdown.render import wrapped_lines
from gemma_cli.views.sanitize import safe, safe_line

STYLE = Style.from_dict(
    {
        "bottom-toolbar": "noreverse ansibrightblack",
        "bottom-toolbar.text": "",
        "toolbar.model": "bold",
        "toolbar.warning": "ansiyellow",
        "toolbar.notice": "ansiyellow",
        "prompt": "bold",
        "staged": "ansicyan",
        "thoughts": "ansibrightblack italic",
    }
)

LEAVE = "Ctrl+D or /exit leaves"


class _History(FileHistory):
    """Lone surrogates, which a file cannot hold, become U+FFFD; a disk that fails loses history, not the chat."""

    def load_history_strings(self) -> Iterable[str]:
        try:
            return super().load_history_strings()
        except OSError:
            return ()

    def store_string(self, string: str) -> None:
        try:
            super().store_string(well_formed(string))
        except OSError:
            return


def history_at(path: Path | None) -> History:
    """The input history in `path`, which only its owner can read; None keeps it in memory."""
    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o600)
        try:
            check_regular(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        return InMemoryHistory()
    return _History(str(path))


class Editor:
    """read() gives what was typed, or None when the user leaves."""

    def __init__(self, chat: Chat, history: History, input: Input | None = None, output: Output | None = None) -> None:
        self.chat, self.fold = chat, Fold()
        self.pasted: deque[str] = deque(maxlen=50)  # what was not typed, and may be on the line again
        self._dropped: deque[str] = deque(maxlen=50)  # files at the beginning of a line, as the terminal wrote them
        self._notice = ""
        self._completer = ChatCompleter(chat)
        if output is None and not is_dumb_terminal():  # prompt-toolkit has a prompt without escapes for those
            output = create_output(stdout=sys.stdout if sys.stdout.isatty() else sys.stderr)
        self.session: PromptSession[str] = PromptSession(
            message=self._message,
            multiline=True,
            enable_suspend=True,
            completer=self._completer,
            complete_while_typing=Condition(lambda: completes(get_app().current_buffer.document)),
            key_bindings=self._keys(),
            history=history,
            bottom_toolbar=self._toolbar,
            prompt_continuation="  ",
            search_ignore_case=True,
            style=STYLE,
            tempfile_suffix=".md",
            include_default_pygments_style=False,
            reserve_space_for_menu=6,
            input=input,
            output=output,
        )
        self.session.default_buffer.on_text_changed += self._forget_notice

    def _forget_notice(self, buffer: Buffer) -> None:
        self._notice = ""

    def read(self) -> str | None:
        """Read one line, which may have several rows, starting with the chat's draft."""
        draft, self.chat.draft = self.chat.draft, ""
        self.fold.thoughts = [safe(thinking) for thinking in self.chat.thoughts]
        try:
            return mentioning(self.session.prompt(default=draft), self._dropped)
        except EOFError:
            return None
        except KeyboardInterrupt:
            return ""

    def leave(self) -> Permission:
        """Ask whether the call just shown may run."""
        return ask(self.session.input, self.session.output)

    # What is drawn --------------------------------------------------------------------------------------------------

    def _message(self) -> StyleAndTextTuples:
        size = get_app().output.get_size()
        rows = self.fold.rows(size.columns, size.rows - 6, self._wrapped)
        fragments: StyleAndTextTuples = [("class:thoughts", f"{row}\n") for row in rows]
        if staged := self.chat.staged():
            fragments.append(("class:staged", f"[{', '.join(staged)}]\n"))
        return [*fragments, ("class:prompt", "> ")]

    def _wrapped(self, text: str, columns: int) -> list[str]:
        return ["".join(s.text for s in line) for line in wrapped_lines(text, self.chat.err, columns)]

    def _toolbar(self) -> StyleAndTextTuples:
        status = replace(self.chat.status, notice=self._notice)
        return list(toolbar(status, get_app().output.get_size().columns))

    # Keys -----------------------------------------------------------------------------------------------------------

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        unfolded = Condition(lambda: self.fold.open)

        @keys.add("enter", filter=~is_searching)
        def _send(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.complete_state and buffer.complete_state.current_completion:
                buffer.complete_state = None  # Enter takes what the menu has put on the line
                return
            self._notice = ""
            self.fold.close()
            buffer.validate_and_handle()

        @keys.add("tab")
        def _complete(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            asked = CompleteEvent(completion_requested=True)
            found = list(self._completer.get_completions(buffer.document, asked))
            if len(found) == 1:
                buffer.apply_completion(found[0])
            elif buffer.complete_state:
                buffer.complete_next()
            elif found:
                buffer.start_completion(insert_common_part=True)

        @keys.add(Keys.BracketedPaste)
        def _paste(event: KeyPressEvent) -> None:
            text = event.data.replace("\r\n", "\n").replace("\r", "\n")
            event.current_buffer.insert_text(self._pasting(text, event.current_buffer.document))

        @keys.add("c-j")
        @keys.add("escape", "enter")
        def _newline(event: KeyPressEvent) -> None:
            event.current_buffer.newline(copy_margin=False)

        @keys.add("c-c", filter=~is_searching)
        def _clear(event: KeyPressEvent) -> None:
            typed = event.current_buffer.text
            event.current_buffer.reset()
            self._notice = "" if typed else LEAVE

        @keys.add("c-d", filter=Condition(lambda: not get_app().current_buffer.text))
        def _leave(event: KeyPressEvent) -> None:
            self.fold.close()
            event.app.exit(exception=EOFError)

        @keys.add("c-g", filter=~is_searching)
        def _edit(event: KeyPressEvent) -> None:
            try:
                event.current_buffer.open_in_editor()
            except OSError as error:  # the text goes through a temporary file
                self._notice = (
                    f"the editor cannot be started ({error.strerror or error}); "
                    "set TMPDIR to a writable folder with free space"
                )

        @keys.add("c-v")
        def _paste_picture(event: KeyPressEvent) -> None:
            try:
                self.chat.stage(clipboard.picture())
            except GemmaError as error:
                self._notice = safe_line(str(error))

        @keys.add("c-o")
        def _thoughts(event: KeyPressEvent) -> None:
            self._notice = "" if self.fold.toggle() else "no reply has thoughts yet; to see thoughts, type /think on"

        @keys.add("escape", "m")
        def _raw(event: KeyPressEvent) -> None:
            run_in_terminal(self._toggle_raw)

        def on(key: tuple[str, ...], action: Callable[[], None]) -> None:
            keys.add(*key, filter=unfolded)(lambda event: action())

        on(("pageup",), lambda: self.fold.scroll(-10))
        on(("pagedown",), lambda: self.fold.scroll(10))
        on(("escape", "up"), lambda: self.fold.go(1))
        on(("escape", "down"), lambda: self.fold.go(-1))
        return keys

    def _pasting(self, text: str, document: Document) -> str:
        """What a paste puts on the line: files dropped into the middle of a message are mentioned in it.

        Files at its beginning stay as they are, since they may be all of it. Any other text is noted, so that no path
        in it is attached.
        """
        files = dropped(text.strip(), is_file)
        if not files:
            self.pasted.append(text)
            return text
        before = document.text_before_cursor
        if not before.strip():
            self._dropped.append(text.strip())
        if not before.strip() or before.startswith(("/", "!")):
            return text
        mentioned = " ".join(f"@{quoted(path)}" for path in files)
        return f"{'' if before[-1].isspace() else ' '}{mentioned} "

    def _toggle_raw(self) -> None:
        """Switch between rendered replies and their markdown source, and show the last one."""
        chat = self.chat
        chat.settings = replace(chat.settings, raw=not chat.settings.raw)
        chat.tell("markdown as written" if chat.settings.raw else "markdown rendered")
        replies = [entry for entry in chat.conversation.entries if entry.message.role == "assistant"]
        if replies:
            show_reply(chat.out, chat.settings, replies[-1])
