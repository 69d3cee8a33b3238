import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.core.events import Delta, Done, Round, Timings, Turn, Usage, collect
from gemma_cli.views import plain
from gemma_cli.views.sanitize import safe

DONE = Done("stop", Usage(5, 7, 2), Timings(ttft_s=0.1, decode_s=0.5))
EVENTS = st.lists(
    st.builds(Delta, st.sampled_from(["answer", "thinking"]), st.text(max_size=8)) | st.just(Round(2, 1)), max_size=12
)


def shown(events):
    out, err = io.StringIO(), io.StringIO()
    return plain.show(events, out, err), out.getvalue(), err.getvalue()


@given(EVENTS)
def test_it_folds_as_collect_does_and_sends_each_channel_its_own_way(events):
    turn, out, err = shown([*events, DONE])
    assert turn == collect([*events, DONE])
    assert out.removesuffix("\n") == safe(turn.text).removesuffix("\n")
    assert err.replace("\n", "") == safe(turn.thinking).replace("\n", "")


def test_what_was_written_ends_with_one_newline():
    assert shown([Delta("answer", "two"), Delta("answer", " words"), DONE])[1] == "two words\n"
    assert shown([Delta("answer", "line\n"), DONE])[1] == "line\n"
    assert shown([DONE])[1:] == ("", "")


def test_thoughts_end_before_the_answer_begins():
    _, out, err = shown([Delta("thinking", "hm"), Delta("answer", "yes"), DONE])
    assert (out, err) == ("yes\n", "hm\n")


def test_nothing_of_the_model_drives_the_terminal():
    turn, out, err = shown([Delta("thinking", "\x1b]0;t\x07"), Delta("answer", "\x1b"), Delta("answer", "[2J"), DONE])
    assert "\x1b" not in out + err
    assert turn.text == "\x1b[2J"  # what is kept is what was said


class Watched(io.StringIO):
    """Knows what had been flushed at any time."""

    flushed = ""

    def flush(self):
        self.flushed = self.getvalue()


def test_every_delta_is_flushed_as_it_comes():
    out, seen = Watched(), []

    def events():
        for word in ("a", " b", " c"):
            yield Delta("answer", word)
            seen.append(out.flushed)

    plain.show(events(), out, io.StringIO())
    assert seen == ["a", "a b", "a b c"]


def test_a_closed_pipe_reaches_the_caller():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        plain.show([Delta("answer", "a")], Closed(), io.StringIO())


def test_ctrl_c_keeps_what_was_said():
    def events():
        yield Delta("thinking", "hm")
        yield Delta("answer", "half an ans")
        raise KeyboardInterrupt

    turn, out, _ = shown(events())
    assert turn == Turn(text="half an ans", thinking="hm", finish_reason="interrupted")
    assert out == "half an ans\n"
