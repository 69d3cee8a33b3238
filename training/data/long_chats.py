"""Long conversations: exchanges of every kind, pictures and recordings as the turns of one chat.

What is learned an exchange at a time does not hold in a chat of a thousand tokens: the layers of full attention have
never had so much to look past. So every answer of such a chat is learned behind all that was said before it. Positions
leap between turns as if more had been said there (PoSE, arXiv:2309.10400): all distances up to the context's end are
seen, for the price of a thousand tokens.
"""

import random
from collections.abc import Callable

import torch

from training.data import scenes, speech, task_mix
from training.data.exchange import Exchange, Message
from training.shapes import CONTEXT
from training.stages import media_features
from training.stages.packing import Encoder, Example, about_medium
from training.tokenizer import render

Picture = tuple[scenes.Scene, torch.Tensor]
Utterance = tuple[speech.Utterance, torch.Tensor]

MARKS = 12
"""Tokens that stand around a question and its answer, at most."""


class Chats:
    """Draws chats of up to `length` tokens."""

    def __init__(
        self,
        encoder: Encoder,
        rng: random.Random,
        pictures: list[Picture],
        utterances: list[Utterance],
        length: int,
    ):
        self.encoder, self.rng, self.pictures, self.utterances = encoder, rng, pictures, utterances
        self.length = length
        self._turn, self._user = encoder.ids["<|turn>"], encoder.tokens("<|turn>user\n")

    def draw(self) -> Example:
        """A chat. With thinking on it ends with a sum; sums before that teach nothing, for their thoughts are gone."""
        thinking = self.rng.random() < 0.2
        messages: list[Message] = []
        tokens: list[tuple[str, torch.Tensor]] = []
        taught: list[bool] = []
        last = self._exchange(lambda exchange: exchange.kind == "sums aloud") if thinking else None
        room = self.length - (self._length(last.messages) if last else 0)
        while True:
            turn, heard = self._media_turn() if self.rng.random() < 0.15 else (self._exchange(self._fits), [])
            room -= self._length(turn.messages) + sum(len(features) + 2 for _, features in heard)
            if room < 0:
                break
            messages += turn.messages
            tokens += heard
            taught += [not (thinking and turn.kind == "sums")] * (len(turn.messages) // 2)
        if last:
            messages, taught = messages + last.messages, [*taught, True]
        return self._encoded(messages, tokens, taught, thinking)

    @staticmethod
    def _fits(exchange: Exchange) -> bool:
        """Whether it can stand in the middle of a chat."""
        return not exchange.thinking and not exchange.tools

    def _exchange(self, fits: Callable[[Exchange], bool]) -> Exchange:
        while True:
            diet = task_mix.POLISH if self.rng.random() < 0.5 else task_mix.TASKS
            exchange = self.rng.choices(tuple(diet), tuple(diet.values()))[0](self.rng)
            if fits(exchange):
                return exchange

    def _media_turn(self) -> tuple[Exchange, list[tuple[str, torch.Tensor]]]:
        """A question about a picture or a recording, with its soft tokens."""
        medium = "image" if self.rng.random() < 0.5 else "audio"
        if medium == "image":
            scene, features = self.rng.choice(self.pictures)
            question, answer = media_features.picture_task(scene, self.rng)
        else:
            utterance, features = self.rng.choice(self.utterances)
            asked = media_features.some_asking(self.rng)
            while not asked.fits(utterance):
                asked = media_features.some_asking(self.rng)
            question, answer = asked.prompt, asked.answer(utterance)
        return Exchange(medium, about_medium(medium, question, answer)), [(medium, features)]

    def _length(self, messages: list[Message]) -> int:
        """Tokens of some turns, a few too many."""
        length = 0
        for message in messages:
            content = message["content"]
            texts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
            length += sum(len(self.encoder.tokens(text)) for text in [*texts, message.get("reasoning", "")])
        return length + MARKS * (len(messages) // 2)

    def _encoded(
        self, messages: list[Message], tokens: list[tuple[str, torch.Tensor]], taught: list[bool], thinking: bool
    ) -> Example:
        ids = self.encoder.opened(render(messages, enable_thinking=thinking).rstrip("\n"), tokens)
        example = Example("chat", ids, self.encoder.wanted(ids), tuple(tokens), self._leaping(ids))
        for teach, (first, last) in zip(taught, example.answers(), strict=True):
            if not teach:
                example.wanted[first:last] = [False] * (last - first)
        return example

    def _leaping(self, ids: list[int]) -> list[int] | None:
        """Positions that leap before one user's turn in four; half of the chats have none."""
        if self.rng.random() < 0.5:
            return None
        spare, position, positions = CONTEXT - len(ids) - 1, 0, []
        for at, token in enumerate(ids):
            if token == self._turn and ids[at : at + len(self._user)] == self._user and self.rng.random() < 0.25:
                leap = self.rng.randint(0, self.rng.choice((100, 1_000, spare)))
                leap = min(leap, spare)
                position, spare = position + leap, spare - leap
            positions.append(position)
            position += 1
        return positions
