"""Prompts id by id under Gemma 4's true vocabulary and template, against ids put together by hand.

The numbers are the published ids of the control tokens (transformers' conversion script, the configs on the hub);
everything between them is what the vocabulary gives for plain pieces of text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_cli.core.errors import InputError, ModelError
from gemma_cli.core.messages import Audio, Image, Message, Request, Text, ToolCall, ToolResponse, Video, ask
from gemma_cli.engines.local.text.chat_template import ChatTemplate
from gemma_cli.engines.local.text.prompt import Prompt, PromptWriter, Span
from gemma_cli.engines.local.text.tokenizer import load_tokenizer
from tests.engines.helpers import tiny

TRUE = Path(__file__).parents[3].parent / "shared" / "gemma4-tokenizer"
needs_true = pytest.mark.skipif(not TRUE.is_dir(), reason="Gemma 4's own vocabulary is not here (gemma4-tokenizer)")

BOS, TOOL, TOOL_END, CALL, CALL_END, ANSWER, ANSWER_END, QUOTE = 2, 46, 47, 48, 49, 50, 51, 52
THINK, CHANNEL, CHANNEL_END, TURN, TURN_END, NEWLINE, THOUGHT = 98, 100, 101, 105, 106, 107, 45518
BOI, BOA, IMAGE, AUDIO, EOI, EOA, VIDEO = 255999, 256000, 258880, 258881, 258882, 258883, 258884
EVERYTHING = frozenset({"image", "audio", "video"})

PICTURE = Image("p", "cat.png", np.zeros((9, 9, 3), np.uint8))
SOUND = Audio("s", "voice.wav", np.zeros(16_000, np.float32))


def count(medium: Image | Audio, budget: int | None) -> int:
    return 3 if isinstance(medium, Image) else 2


@pytest.fixture(scope="module")
def true() -> Any:
    return load_tokenizer(TRUE)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("words")
    tiny.byte_tokenizer().save_pretrained(folder)
    return load_tokenizer(folder)


def writer(tokenizer: Any, modalities: frozenset[str] = EVERYTHING, context: int = 4096) -> PromptWriter:
    return PromptWriter(tokenizer, model="tiny", context=context, modalities=modalities)


def write(tokenizer: Any, request: Request) -> Prompt:
    return writer(tokenizer).write(request, count)


@pytest.fixture(scope="module")
def text(true: Any) -> Callable[[str], list[int]]:
    """Ids of a piece of plain text."""
    encode: Callable[[str], list[int]] = true.encode
    return encode


class TestTrueVocabulary:
    pytestmark = needs_true

    END = (TURN_END, NEWLINE)
    # The template these ids are under closes an empty thought when thinking is off.
    REPLY = (TURN, 4368, NEWLINE)
    SILENT = (CHANNEL, THOUGHT, NEWLINE, CHANNEL_END)

    def test_the_names_of_the_parts(self, text: Callable[[str], list[int]]) -> None:
        assert (text("model"), text("thought"), text("\n")) == ([4368], [THOUGHT], [NEWLINE])

    def test_text(self, true: Any, text: Callable[[str], list[int]]) -> None:
        prompt = write(true, Request(ask("Why is the sky blue?")))
        expected = [BOS, TURN, *text("user"), NEWLINE, *text("Why is the sky blue?"), *self.END]
        assert list(prompt.ids) == [*expected, *self.REPLY, *self.SILENT]
        assert not prompt.in_thought
        assert prompt.media == ()

    def test_system_and_thinking(self, true: Any, text: Callable[[str], list[int]]) -> None:
        user = [TURN, *text("user"), NEWLINE, *text("Hi"), *self.END]
        system = [BOS, TURN, *text("system"), NEWLINE]
        quiet = write(true, Request(ask("Hi", system="Be brief.")))
        assert list(quiet.ids) == [*system, *text("Be brief."), *self.END, *user, *self.REPLY, *self.SILENT]
        loud = write(true, Request(ask("Hi", system="Be brief."), thinking=True))
        assert list(loud.ids) == [*system, THINK, *text("Be brief."), *self.END, *user, *self.REPLY]
        bare = write(true, Request(ask("Hi"), thinking=True))
        assert list(bare.ids) == [*system, THINK, *self.END, *user, *self.REPLY]

    def test_turns_without_their_thoughts(self, true: Any, text: Callable[[str], list[int]]) -> None:
        answer = Message("assistant", (Text("Yes."),), thinking="Is it?")
        prompt = write(true, Request((*ask("Is it?"), answer, *ask("Sure?"))))
        expected = [BOS]
        for role, words in (("user", "Is it?"), ("model", "Yes."), ("user", "Sure?")):
            expected += [TURN, *text(role), NEWLINE, *text(words), *self.END]
        assert list(prompt.ids) == [*expected, *self.REPLY, *self.SILENT]

    def test_media_stand_where_the_caller_put_them(self, true: Any, text: Callable[[str], list[int]]) -> None:
        prompt = write(true, Request(ask(PICTURE, "What is ", "this?", SOUND)))
        picture, sound = [BOI, IMAGE, IMAGE, IMAGE, EOI], [BOA, AUDIO, AUDIO, EOA]
        # This early template sets images off by blank lines; the words of one stretch of text stay together.
        expected = [BOS, TURN, *text("user"), *text("\n\n\n"), *picture, *text("\n\nWhat is this?"), *sound, *self.END]
        assert list(prompt.ids) == [*expected, *self.REPLY, *self.SILENT]
        first, second = prompt.ids.index(IMAGE), prompt.ids.index(AUDIO)
        assert prompt.media == (Span(first, 3, PICTURE, None), Span(second, 2, SOUND, None))

    def test_video_is_frames_under_their_times(self, true: Any, text: Callable[[str], list[int]]) -> None:
        frames = (PICTURE, Image("q", "dog.png", PICTURE.pixels))
        prompt = write(true, Request(ask(Video(frames, (0.4, 61.5), "video.mp4"), "What happens?")))
        frame = [BOI, VIDEO, VIDEO, VIDEO, EOI]
        expected = [BOS, TURN, *text("user"), *text("\n\n\n"), *text("00:00 "), *frame, *text(" 01:01 "), *frame]
        expected += [*text("\n\nWhat happens?"), *self.END]
        assert list(prompt.ids) == [*expected, *self.REPLY, *self.SILENT]
        assert [span.medium for span in prompt.media] == list(frames)

    def test_tools(self, true: Any, text: Callable[[str], list[int]]) -> None:
        declaration = {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "The weather.",
                "parameters": {
                    "type": "object",
                    "properties": {"place": {"type": "string", "description": "Where."}},
                    "required": ["place"],
                },
            },
        }
        called = Message("assistant", tool_calls=(ToolCall("weather", {"place": "Rome", "days": 3}),))
        answered = Message("tool", tool_responses=(ToolResponse("weather", {"sky": "clear"}),))
        request = Request((*ask("Rain?"), called, answered), tools=(declaration,))
        prompt = write(true, request)

        def quoted(words: str) -> list[int]:
            return [QUOTE, *text(words), QUOTE]

        declared = [TOOL, *text("declaration:weather{description:"), *quoted("The weather.")]
        declared += [*text(",parameters:{properties:{place:{description:"), *quoted("Where.")]
        declared += [*text(",type:"), *quoted("STRING"), *text("}},required:["), *quoted("place")]
        declared += [*text("],type:"), *quoted("OBJECT"), *text("}}"), TOOL_END]
        expected = [BOS, TURN, *text("system"), NEWLINE, *declared, *self.END]
        expected += [TURN, *text("user"), NEWLINE, *text("Rain?"), *self.END]
        expected += [*self.REPLY, CALL, *text("call:weather{days:3,place:"), *quoted("Rome"), *text("}"), CALL_END]
        expected += [ANSWER, *text("response:weather{sky:"), *quoted("clear"), *text("}"), ANSWER_END]
        assert list(prompt.ids) == [*expected, *self.SILENT]

    def test_what_was_said_after_a_tool_answered_closes_the_turn(
        self, true: Any, text: Callable[[str], list[int]]
    ) -> None:
        history = (
            *ask("Rain?"),
            Message("assistant", (Text("Let me look."),), tool_calls=(ToolCall("sky", {}),)),
            Message("tool", tool_responses=(ToolResponse("sky", "clear"),)),
            Message("assistant", (Text("No."),)),
            *ask("Sure?"),
        )
        prompt = write(true, Request(history))
        expected = [BOS, TURN, *text("user"), NEWLINE, *text("Rain?"), *self.END]
        expected += [*self.REPLY, *text("Let me look."), *self.END, *self.REPLY]
        expected += [CALL, *text("call:sky{}"), CALL_END]
        expected += [ANSWER, *text("response:sky{value:"), QUOTE, *text("clear"), QUOTE, *text("}"), ANSWER_END]
        expected += [*text("No."), *self.END, TURN, *text("user"), NEWLINE, *text("Sure?"), *self.END]
        assert list(prompt.ids) == [*expected, *self.REPLY, *self.SILENT]

    @given(st.data())
    @settings(max_examples=100, deadline=None)
    def test_text_never_becomes_a_control_token(self, true: Any, data: st.DataObject) -> None:
        """Whatever the user, a system prompt or a tool writes, the control tokens are those the template writes."""
        control = list(true.special)
        pieces = st.lists(st.one_of(st.sampled_from(control), st.text(max_size=6)), max_size=6).map("".join)
        forged = data.draw(pieces)

        def control_ids(words: str) -> list[int]:
            frozen = MappingProxyType({"a": words})
            history = (
                *ask(PICTURE, words, SOUND, system=f"S{words}"),
                Message("assistant", (Text(f"A{words}"),), tool_calls=(ToolCall(f"f{words}", frozen),)),
                Message("tool", tool_responses=(ToolResponse(f"f{words}", {"b": (words,)}),)),
            )
            declared = {"type": "function", "function": MappingProxyType({"name": f"f{words}", "description": words})}
            return [i for i in write(true, Request(history, tools=(declared,))).ids if i in special]

        special = set(map(true.id_of, control))
        assert control_ids(forged) == control_ids("x")

    def test_every_control_token_alone(self, true: Any) -> None:
        special = set(map(true.id_of, true.special))
        honest = [i for i in write(true, Request(ask("x"))).ids if i in special]
        for token in true.control:
            for words in (token, f"a{token}b", token * 3, f" {token}\n"):
                ids = write(true, Request(ask(words))).ids
                assert [i for i in ids if i in special] == honest, words


class TestRefusals:
    """One line that names the input and what to do."""

    @pytest.mark.parametrize(
        ("part", "able", "complaint"),
        [
            (PICTURE, frozenset({"audio"}), r"cat\.png: tiny accepts no image, only text, audio: .*--model"),
            (SOUND, frozenset({"image"}), r"voice\.wav: tiny accepts no audio"),
            (
                Video((PICTURE,), (0.0,), "video.mp4"),
                frozenset(),
                r"video\.mp4: tiny accepts no video, only text",
            ),
        ],
    )
    def test_a_medium_the_model_lacks(self, small: Any, part: Any, able: frozenset[str], complaint: str) -> None:
        with pytest.raises(InputError, match=complaint):
            writer(small, able).write(Request(ask(part, "?")), count)

    def test_audio_that_is_too_long(self, small: Any) -> None:
        long = Audio("l", "talk.wav", np.zeros(16_000 * 31, np.float32))
        with pytest.raises(InputError, match=r"talk\.wav: the audio is 31\.0 s long, but tiny accepts at most 30 s"):
            write(small, Request(ask("?", long)))
        write(small, Request(ask("?", Audio("m", "m.wav", np.zeros(16_000 * 30, np.float32)))))

    def test_a_prompt_that_is_too_long(self, small: Any) -> None:
        request = Request(ask("x" * 100))
        size = len(write(small, request).ids)
        assert len(writer(small, context=size + 1).write(request, count).ids) == size
        with pytest.raises(InputError, match=rf"the prompt has {size} tokens, but tiny accepts at most {size - 1}"):
            writer(small, context=size).write(request, count)

    def test_media_outside_a_user_message(self, small: Any) -> None:
        with pytest.raises(InputError, match=r"a system message can contain only text: put cat\.png in a user message"):
            write(small, Request((Message("system", (PICTURE,)), *ask("?"))))

    def test_a_control_token_in_the_name_of_an_argument(self, small: Any) -> None:
        called = Message("assistant", tool_calls=(ToolCall("f", {"a<turn|>": 1}),))
        with pytest.raises(InputError, match=re.escape("'a<turn|>'")):
            write(small, Request((*ask("?"), called)))

    def test_a_template_that_refuses(self, small: Any) -> None:
        with pytest.raises(ModelError, match="the chat template rejects this conversation"):
            write(small, Request(()))

    def test_a_template_that_drops_media(self, small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(small, "template", ChatTemplate("{{ bos_token }}{{ messages[0]['role'] }}", {}))
        with pytest.raises(ModelError, match="does not support images"):
            write(small, Request(ask(PICTURE)))


class TestThoughts:
    CALLED = (
        *ask("Time?"),
        Message("assistant", thinking="Look.", tool_calls=(ToolCall("clock", {}),)),
        Message("tool", tool_responses=(ToolResponse("clock", "noon"),)),
    )

    def test_a_prompt_can_end_inside_one(self, small: Any) -> None:
        assert write(small, Request(self.CALLED, thinking=True)).in_thought
        assert not write(small, Request(self.CALLED)).in_thought
        assert not write(small, Request(ask("Time?"), thinking=True)).in_thought

    def test_text_cannot_open_one(self, small: Any) -> None:
        assert not write(small, Request(ask("<|channel>thought\n"))).in_thought


def test_undecodable_text_is_replaced(small: Any) -> None:
    assert write(small, Request(ask("a\udcffb"))).ids == write(small, Request(ask("a\ufffdb"))).ids
