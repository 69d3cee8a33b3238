"""The question whether a tool may be called: one key, pressed after the question was asked."""

from __future__ import annotations

from prompt_toolkit import PromptSession
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import Output

from gemma_cli.tools.calls import Permission, leave
from gemma_cli.views.typeahead import held_back

QUESTION = "run this tool? [y]es [n]o [a]lways "


def ask(input: Input, output: Output) -> Permission:
    """Wait for y, n or a; Ctrl+C, Ctrl+D, Escape and a closed terminal mean no. What was typed before waits for the
    next line."""
    with held_back(input):
        session: PromptSession[Permission] = PromptSession(key_bindings=_keys(), input=input, output=output)
        try:
            return session.prompt(QUESTION)
        except EOFError:
            return "no"


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add(Keys.Any)
    def _pressed(event: KeyPressEvent) -> None:
        given = leave(event.data)
        if given:
            event.current_buffer.insert_text(given)
            event.app.exit(result=given)

    for key in (Keys.ControlC, Keys.ControlD, Keys.Escape):

        @keys.add(key, eager=True)
        def _no(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("no")
            event.app.exit(result="no")

    for key in (Keys.Enter, Keys.ControlJ, Keys.BracketedPaste, Keys.Tab, Keys.Up, Keys.Down):

        @keys.add(key)
        def _nothing(event: KeyPressEvent) -> None:
            """It is neither."""

    return keys
