"""Summaries: what is asked for one, what stands in whose place, and that nothing is lost."""

from dataclasses import replace

import pytest

from gemma_cli.core import fitting, summaries
from gemma_cli.core.conversation import SUMMARY_HEADING, Conversation
from gemma_cli.core.errors import UsageError
from gemma_cli.core.events import Turn
from gemma_cli.core.messages import Drafting, Message, Request, Sampling, Text
from gemma_cli.engines.scripted import INFO

SMALL = replace(INFO, context=160)
SPACE = fitting.Space(160, 32)
LONG = "All work and no play makes Jack a dull boy. " * 4


def chat(*texts: str) -> Conversation:
    conversation = Conversation(system="Be kind.")
    for text in texts:
        conversation = conversation.saying(text).hearing(Turn(text=f"re {text}", finish_reason="stop"), "m")
    return conversation


class Writer:
    """Stands for the model that is asked for a summary."""

    def __init__(self, text: str = "They greeted.", finish_reason: str = "stop") -> None:
        self.turn = Turn(text=text, finish_reason=finish_reason)  # type: ignore[arg-type]
        self.asked: list[Request] = []

    def __call__(self, request: Request) -> Turn:
        self.asked.append(request)
        return self.turn


def fitted(asked: Conversation, writer: Writer) -> Conversation:
    return summaries.fitted(asked, SMALL.model, SPACE, Drafting(), writer)


def messages(conversation: Conversation) -> list[tuple[str, str]]:
    request = conversation.request(Sampling(), Drafting(), thinking=False)
    return [(message.role, message.text) for message in request.messages]


def test_what_has_room_is_not_summarized():
    writer, asked = Writer(), chat("Hello").saying("and?")
    assert fitted(asked, writer) is asked
    assert not writer.asked


def test_the_oldest_become_a_summary_that_is_told_with_the_system_prompt():
    writer, asked = Writer(" They greeted. \n"), chat("Hello", LONG, "Hi").saying("and?")
    short = fitted(asked, writer)
    assert messages(short) == [
        ("system", f"Be kind.\n\n{SUMMARY_HEADING}\nThey greeted."),
        *(("user", "Hi"), ("assistant", "re Hi"), ("user", "and?")),
    ]
    assert short.summary == "They greeted."
    assert [entry.message.role for entry in short.entries[:5]] == ["user", "assistant", "user", "assistant", "system"]
    (request,) = writer.asked
    assert request.messages[-1] == Message("user", (Text(summaries.PROMPT),))
    assert request.sampling.temperature == 0
    assert request.sampling.max_tokens == SMALL.context // 8
    assert not request.thinking


def test_it_goes_on_from_the_summary_and_is_summarized_again():
    short = fitted(chat("Hello", LONG, "Hi").saying("and?"), Writer())
    heard = short.hearing(Turn(text="And on.", finish_reason="stop"), "m").saying(LONG)
    writer = Writer("They went on.")
    again = fitted(heard, writer)
    assert "They greeted." in writer.asked[0].messages[0].text
    assert messages(again)[0] == ("system", f"Be kind.\n\n{SUMMARY_HEADING}\nThey went on.")
    assert again.without_exchange()[0].summary == "They went on."
    assert again.cleared().summary == ""


@pytest.mark.parametrize("writer", [Writer(""), Writer("Hm", "interrupted"), Writer("word " * 300)])
def test_without_a_summary_that_fits_the_oldest_are_left_out(writer: Writer):
    asked = chat("Hello", LONG, "Hi").saying("and?")
    assert fitted(asked, writer) == fitting.fitted(asked, SPACE)


def test_compact_stands_for_all_and_undo_takes_it_back():
    conversation = chat("Hello", "Hi")
    compact = summaries.compact(conversation, SMALL.model, SPACE, Drafting(), Writer())
    assert messages(compact) == [("system", f"Be kind.\n\n{SUMMARY_HEADING}\nThey greeted.")]
    assert compact.entries[:-1] == conversation.entries
    assert compact.size() < conversation.size()
    assert compact.without_exchange()[0].entries == conversation.entries[:2]
    with pytest.raises(UsageError, match="no messages to summarize"):
        summaries.compact(compact, SMALL.model, SPACE, Drafting(), Writer())
    with pytest.raises(UsageError, match="no messages to summarize"):
        summaries.compact(Conversation(), SMALL.model, SPACE, Drafting(), Writer())
    with pytest.raises(UsageError, match="the model wrote no summary"):
        summaries.compact(conversation, SMALL.model, SPACE, Drafting(), Writer("Hm", "interrupted"))
