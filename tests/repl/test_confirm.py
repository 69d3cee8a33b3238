"""The question whether a tool may be called, as the chat asks it."""

from __future__ import annotations

import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.input.typeahead import get_typeahead
from prompt_toolkit.output import DummyOutput

from gemma_cli.repl.confirm import ask


@pytest.mark.parametrize(("key", "permission"), [("y", "yes"), ("n", "no"), ("a", "always"), ("\x03", "no")])
@pytest.mark.parametrize("before", ["y", "a", "yes\r", "\x03", ""])
def test_only_a_key_pressed_after_the_question_answers_it(before: str, key: str, permission: str) -> None:
    """What was typed before is there for the next line, in its order."""
    with create_pipe_input() as keys:

        class Asked(DummyOutput):
            """Presses the key once the question is on the screen."""

            pressed = False

            def flush(self) -> None:
                if not self.pressed:
                    self.pressed = True
                    keys.send_text(key)

        keys.send_text(before)
        assert ask(keys, Asked()) == permission
        assert "".join(press.data for press in get_typeahead(keys)) == before
