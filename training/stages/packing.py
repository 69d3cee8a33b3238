"""Examples to packed rows: little padding, and a prompt that many share computed once.

A row holds pieces end to end. Each sees only itself, and a branch also the prefix it continues: a row of speech is the
transcription prompt once, then several `audio ... answer` branches, each at the positions it would have alone.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import torch
from transformers import GemmaTokenizer

from training.data.exchange import Exchange, Message
from training.tokenizer import CONTROL, render


@dataclass(frozen=True)
class Example:
    """Token ids; which of them are to be predicted; of each picture and sound in order its medium and soft tokens
    (count, width); positions where they are not 0, 1, 2, ..."""

    kind: str
    ids: list[int]
    wanted: list[bool]
    media: tuple[tuple[str, torch.Tensor], ...] = ()
    positions: list[int] | None = None

    def answers(self) -> Iterator[tuple[int, int]]:
        """Where each run of wanted tokens begins and ends: one answer, or what the model says up to a tool's result."""
        edges = [at for at, (a, b) in enumerate(pairwise([False, *self.wanted, False])) if a != b]
        return zip(edges[::2], edges[1::2], strict=True)


def about_medium(medium: str, question: str, answer: str) -> list[Message]:
    """A question with a picture before it or a recording after it, and its answer, as messages."""
    parts = [{"type": medium}, {"type": "text", "text": question}]
    if medium == "audio":
        parts.reverse()
    return [{"role": "user", "content": parts}, {"role": "assistant", "content": answer}]


class Encoder:
    """Chat messages to examples, through the template."""

    def __init__(self, tokenizer: GemmaTokenizer):
        self.tokenizer = tokenizer
        self.ids = {token: tokenizer.convert_tokens_to_ids(token) for token in CONTROL}
        self.model_turn = self.tokens("<|turn>model\n")

    def tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def wanted(self, ids: list[int]) -> list[bool]:
        """Everything the model itself says: each model turn up to its <turn|>, but not a tool's response inside it."""
        marks, inside, start = [], False, len(self.model_turn)
        for at, token in enumerate(ids):
            if token == self.ids["<|turn>"]:
                inside = False
            marks.append(inside)
            if token in (self.ids["<turn|>"], self.ids["<|tool_response>"]):
                inside = False
            if token == self.ids["<tool_response|>"] or ids[at + 1 - start : at + 1] == self.model_turn:
                inside = True
        return marks

    def exchange(self, exchange: Exchange) -> Example:
        """A text exchange as one example; what follows the last <turn|> is cut."""
        text = render(exchange.messages, tools=exchange.tools or None, enable_thinking=exchange.thinking)
        ids = self.tokens(text.rstrip("\n"))
        return Example(exchange.kind, ids, self.wanted(ids))

    def media(self, kind: str, medium: str, question: str, answer: str, features: torch.Tensor) -> Example:
        """A picture before the question or a recording after it, with its soft tokens."""
        text = render(about_medium(medium, question, answer)).rstrip("\n")
        ids = self.opened(text, [(medium, features)])
        return Example(kind, ids, self.wanted(ids), ((medium, features),))

    def opened(self, text: str, media: Iterable[tuple[str, torch.Tensor]]) -> list[int]:
        """The ids of a rendered text, each of its placeholders opened up to as many as its soft tokens."""
        ids: list[int] = []
        for medium, features in media:
            before, text = text.split(f"<|{medium}|>", 1)
            ids += self.tokens(before + f"<|{medium}>") + [self.ids[f"<|{medium}|>"]] * len(features)
            text = f"<{medium}|>" + text
        return ids + self.tokens(text)


@dataclass
class Batch:
    """Packed rows (rows, length): ids, positions, boolean masks (rows, 1, length, length) of both layer kinds, and for
    the tokens to predict: where their predictor stands (flat), what they are and how much each weighs."""

    ids: torch.Tensor
    positions: torch.Tensor
    full: torch.Tensor
    sliding: torch.Tensor
    predictors: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    features: dict[str, torch.Tensor]
    answers: list[tuple[str, int, int]]
    """Each answer's kind and where its targets begin and end: all of them right is a greedy answer without error."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in moved.items()}
        return Batch(**moved | {"features": {medium: tokens.to(device) for medium, tokens in self.features.items()}})


class Rows:
    """A batch in the making."""

    def __init__(self, length: int, ids: dict[str, int], window: int):
        self.length, self.pad, self.window = length, ids["<pad>"], window
        self.placeholders = frozenset((ids["<|image|>"], ids["<|audio|>"]))
        self.rows: list[list[tuple[Example, int]]] = []
        """Each row's examples, each with how many of its first tokens it shares with the row's first."""

    def add(self, examples: Iterable[Example], count: int, shared: bool = False) -> None:
        """Fill `count` more rows; with `shared`, examples that begin as the row's first does share that prefix."""
        source = iter(examples)
        example = next(source, None)
        for _ in range(count):
            row: list[tuple[Example, int]] = []
            room = self.length
            while example is not None:
                prefix = self._common(row[0][0], example, self.placeholders) if shared and row else 0
                new = len(example.ids) - prefix
                if new > room and row:
                    break
                if new <= room:  # an example longer than a whole row is left out
                    row.append((example, prefix))
                    room -= new
                example = next(source, None)
            self.rows.append(row)

    @staticmethod
    def _common(first: Example, example: Example, placeholders: frozenset[int]) -> int:
        """How many tokens both begin with, before either's soft tokens or answer."""
        for count, (a, b) in enumerate(zip(first.ids, example.ids, strict=False)):
            if a != b or a in placeholders:
                return count
        return 0

    def batch(self) -> Batch:
        """Lay the rows out as tensors."""
        shape = (len(self.rows), self.length)
        ids, positions = np.full(shape, self.pad), np.zeros(shape, np.int64)
        own, parent = np.full(shape, -1), np.full(shape, -1)
        predictors: list[int] = []
        targets: list[int] = []
        weights: list[float] = []
        answers: list[tuple[str, int, int]] = []
        features: dict[str, list[tuple[int, torch.Tensor]]] = {"audio": [], "image": []}
        for r, row in enumerate(self.rows):
            at = 0
            for number, (example, prefix) in enumerate(row):
                new = len(example.ids) - prefix
                span = slice(at, at + new)
                ids[r, span] = example.ids[prefix:]
                positions[r, span] = np.arange(prefix, prefix + new) if example.positions is None else example.positions
                own[r, span] = number
                parent[r, span] = 0 if prefix else number
                for first, last in example.answers():
                    answers.append((example.kind, len(targets), len(targets) + last - first))
                    before = r * self.length + at - prefix - 1
                    predictors += range(before + first, before + last)
                    targets += example.ids[first:last]
                    weights += [(last - first) ** -0.5] * (last - first)
                for medium, tokens in example.media:
                    features[medium].append((r * self.length + at, tokens))
                at += new
        # A branch sees the first piece only up to where it leaves it: compare positions, not places in the row.
        index = np.arange(self.length)
        causal = index[:, None] >= index[None, :]
        distance = positions[:, :, None] - positions[:, None, :]
        start = np.stack([self._starts(row) for row in self.rows])
        same = own[:, :, None] == own[:, None, :]
        inherited = (own[:, None, :] == parent[:, :, None]) & (positions[:, None, :] < start[:, :, None])
        full = causal & (same | inherited) & (own[:, :, None] >= 0)
        full |= np.eye(self.length, dtype=bool)  # padding sees itself, so that no row of the softmax is empty
        sliding = full & (distance < self.window)
        return Batch(
            torch.from_numpy(ids),
            torch.from_numpy(positions),
            torch.from_numpy(full)[:, None],
            torch.from_numpy(sliding)[:, None],
            torch.tensor(predictors),
            torch.tensor(targets),
            torch.tensor(weights, dtype=torch.float32),
            {m: torch.cat([f for _, f in sorted(fs, key=lambda x: x[0])]).float() for m, fs in features.items() if fs},
            answers,
        )

    def _starts(self, row: list[tuple[Example, int]]) -> np.ndarray:
        """For each place in the row, the position at which its piece began."""
        starts = np.zeros(self.length, np.int64)
        at = 0
        for example, prefix in row:
            starts[at : at + len(example.ids) - prefix] = prefix
            at += len(example.ids) - prefix
        return starts
