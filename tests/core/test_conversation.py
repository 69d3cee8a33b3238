"""Laws of the conversation: what is shown to the model, what is left out, and that nothing else is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_cli.core import fitting
from gemma_cli.core.conversation import (
    Conversation,
    Entry,
    arranged,
    estimated_tokens,
    opening_words,
    part_name,
    well_formed,
)
from gemma_cli.core.errors import InputError
from gemma_cli.core.events import Turn, Usage
from gemma_cli.core.messages import SAMPLE_RATE, Audio, Drafting, Image, Message, Sampling, Text, Video

PICTURE = Image("p", "cat.png", np.zeros((2, 2, 3), np.uint8))
SOUND = Audio("s", "hello.wav", np.zeros(SAMPLE_RATE, np.float32))


def asked(conversation: Conversation, thinking: bool = False):
    return conversation.request(Sampling(), Drafting(), thinking)


def chat(*texts: str) -> Conversation:
    conversation = Conversation()
    for text in texts:
        conversation = conversation.saying(text).hearing(Turn(text=f"re {text}", finish_reason="stop"), "m")
    return conversation


def test_attachments_go_with_the_next_message_only_and_in_the_order_the_model_card_asks_for():
    conversation = Conversation().staging(SOUND).staging(PICTURE).saying("what?")
    assert conversation.entries[0].message.parts == (PICTURE, Text("what?"), SOUND)
    assert conversation.staged == ()
    assert asked(conversation.saying("and?")).messages[1].parts == (Text("and?"),)


def test_a_message_can_be_an_attachment_alone():
    assert arranged("", [SOUND]) == (SOUND,)


def test_one_staged_attachment_can_be_dropped_or_all():
    conversation = Conversation().staging(SOUND).staging(PICTURE)
    assert conversation.dropping(0).staged == (PICTURE,)
    assert conversation.dropping().staged == ()
    with pytest.raises(IndexError):
        conversation.dropping(2)


def test_thoughts_are_kept_for_the_reader_and_never_shown_to_the_model_again():
    conversation = Conversation().saying("1+1?").hearing(Turn(text="2", thinking="one and one"), "m").saying("sure?")
    assert conversation.entries[1].message.thinking == "one and one"
    assert [message.thinking for message in asked(conversation).messages] == ["", "", ""]


def test_the_system_prompt_comes_first_and_only_when_there_is_one():
    assert asked(chat("a").instructed("be brief").saying("b")).messages[0] == Message("system", (Text("be brief"),))
    assert [m.role for m in asked(chat("a").saying("b")).messages] == ["user", "assistant", "user"]


def test_a_reply_cut_off_before_its_first_word_leaves_no_entry_and_one_cut_off_later_is_marked():
    conversation = Conversation().saying("hi")
    assert conversation.hearing(Turn(), "m") == conversation
    assert conversation.hearing(Turn(text="Hel"), "m").entries[-1].cut_off


def test_retry_undo_and_edit():
    conversation = Conversation().staging(PICTURE).saying("what?").hearing(Turn(text="a dog"), "m")
    assert conversation.without_reply().entries == conversation.entries[:1]
    shorter, message = conversation.without_exchange()
    assert shorter.entries == ()
    assert message.text == "what?"
    again, text = conversation.rewriting()
    assert (again.entries, again.staged, text) == ((), (PICTURE,), "what?")
    for method in (Conversation().without_reply, Conversation().without_exchange, Conversation().rewriting):
        with pytest.raises(InputError, match="the chat has no messages yet"):
            method()


def test_a_document_goes_before_what_is_typed_and_is_not_taken_for_it():
    document = Text("notes.md:\nbuy milk\n\n")
    conversation = Conversation().staging(SOUND).staging(document).saying("what to buy?")
    assert conversation.entries[0].message.parts == (document, Text("what to buy?"), SOUND)
    again, text = conversation.rewriting()
    assert (again.staged, text) == ((document, SOUND), "what to buy?")
    assert [part_name(part) for part in again.staged] == ["notes.md", "hello.wav"]
    assert opening_words(conversation.entries[0].message) == "what to buy?"


def test_another_model_counts_anew():
    conversation = Conversation().saying("hello").hearing(Turn(text="x", usage=Usage(10, 7, 4)), "m").recounted()
    assert conversation.used is None
    assert [entry.tokens for entry in conversation.entries] == [None, None]


def test_the_models_own_counts_replace_the_estimates():
    conversation = Conversation().saying("hello")
    conversation = conversation.hearing(Turn(text="x", thinking="y", usage=Usage(10, 7, 4)), "m")
    assert conversation.used == conversation.size() == 13
    assert [entry.tokens for entry in conversation.entries] == [10, 3]
    conversation = conversation.saying("more")
    assert conversation.size() == 13 + estimated_tokens(conversation.entries[-1].message)
    conversation = conversation.hearing(Turn(text="x", usage=Usage(20, 5, 0)), "m")
    assert [entry.tokens for entry in conversation.entries] == [10, 3, 7, 5]


def test_media_are_counted_as_the_model_counts_them():
    video = Video((PICTURE, PICTURE), (0.0, 1.0), "v.mp4")
    assert estimated_tokens(Message("user", (PICTURE,))) - estimated_tokens(Message("user")) == 280
    assert estimated_tokens(Message("user", (SOUND,))) - estimated_tokens(Message("user")) == 25
    assert estimated_tokens(Message("user", (video,))) - estimated_tokens(Message("user")) == 2 * 78


@given(
    lengths=st.lists(st.integers(1, 400), min_size=1, max_size=12),
    context=st.integers(100, 900),
    reserve=st.integers(0, 90),
)
def test_the_window_never_overflows_and_only_the_oldest_exchanges_go(lengths, context, reserve):
    conversation = Conversation(system="s")
    for length in lengths:
        before = conversation.saying("x" * length)
        try:
            fitted = fitting.fitted(before, fitting.Space(context, reserve))
        except InputError:
            alone = Conversation(system="s").saying("x" * length)
            assert alone.size() > context - reserve, "refused although the message fits on its own"
            return
        assert fitted.size() <= context - reserve
        assert fitted.entries == before.entries, "left out means not shown, never deleted"
        assert fitted.left_out >= before.left_out
        shown = asked(fitted).messages
        assert shown[0].role == "system"
        assert shown[1:] == tuple(entry.message for entry in fitted.entries[fitted.left_out :])
        assert shown[1].role == "user", "an answer whose question is gone"
        conversation = fitted.hearing(Turn(text="y" * length), "m")


def test_making_room_makes_room_for_more_than_one_turn():
    conversation = chat(*["x" * 90] * 6).saying("x" * 90)
    fitted = fitting.fitted(conversation, fitting.Space(conversation.size() - 1, 0))
    assert fitted.size() <= (conversation.size() - 1) * 3 // 4


def test_taking_back_what_follows_the_window_shows_the_old_turns_again():
    conversation = chat(*["x" * 90] * 3).saying("x" * 300)
    fitted = fitting.fitted(conversation, fitting.Space(200, 0))
    assert fitted.left_out
    shorter = fitted.without_exchange()[0]
    assert asked(shorter.saying("y")).messages[0].role == "user"


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_surrogates_never_reach_the_tokenizer(text):
    well_formed(text).encode()
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert well_formed(text) == text
    asked(Conversation().saying(text)).messages[0].text.encode() if text else None


def test_opening_words_name_a_message():
    assert opening_words(Message("user", (Text("  two\nwords "),))) == "two words"
    assert opening_words(Message("user", (PICTURE,))) == "cat.png"
    assert len(opening_words(Message("user", (Text("x" * 99),)))) == 40


def test_entries_with_only_tools_or_nothing_are_handled():
    empty = Conversation(entries=(Entry(Message("user", (Text("a"),))), Entry(Message("assistant", thinking="hm"))))
    assert [m.role for m in asked(empty.saying("b")).messages] == ["user", "user"]
