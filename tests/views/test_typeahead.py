"""Keys typed before a question are no answer to it, and are there for the prompt that follows."""

from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
from prompt_toolkit.key_binding.key_processor import KeyPress

from gemma_cli.views.typeahead import held_back


def test_what_was_typed_before_is_held_back():
    with create_pipe_input() as keys:
        store_typeahead(keys, [KeyPress("a", "a")])
        keys.send_text("y\r")
        with held_back(keys):
            assert (get_typeahead(keys), keys.read_keys()) == ([], [])
        assert [key.data for key in get_typeahead(keys)] == ["a", "y", "\r"]
