"""A Request -> the token ids Gemma 4 reads, with the places of its pictures and sounds.

The checkpoint's own chat template writes every control token; whatever the user, a file or a tool wrote is tokenized
as text, even where it spells one. A picture stands as <|image> n x <|image|> <image|>, a
sound as <|audio> n x <|audio|> <audio|>, a video as its frames, each after its time: "00:05 " <|image> ... <image|>.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gemma_cli.core.errors import GemmaError, InputError, ModelError, TemplateRefused
from gemma_cli.core.messages import (
    FRAME_BUDGET,
    MAX_AUDIO_S,
    SAMPLE_RATE,
    Audio,
    Image,
    Part,
    Request,
    Text,
    Video,
)
from gemma_cli.engines.local.text.tokenizer import Tokenizer
from gemma_cli.engines.local.text.turns import clean, keys_in, kind_of, name_of, plain_data, turns_of

Medium = Image | Audio


@dataclass(frozen=True)
class Span:
    """Rows start .. start + length - 1 of a prompt are the features of `medium`, an image within `budget`."""

    start: int
    length: int
    medium: Medium
    budget: int | None = None


@dataclass(frozen=True)
class Prompt:
    """in_thought: the prompt ends inside a thought, so the reply starts there. turns: how many rows stand before what
    the model says, for each of its turns; decided by the rows before alone."""

    ids: tuple[int, ...]
    media: tuple[Span, ...] = ()
    in_thought: bool = False
    turns: tuple[int, ...] = ()


def pictures(request: Request) -> list[tuple[Image, int | None]]:
    """Return the pictures of a request and the frames of its videos, each with its budget."""
    found: list[tuple[Image, int | None]] = []
    for part in (part for message in request.messages for part in message.parts):
        if isinstance(part, Video):
            found += [(frame, FRAME_BUDGET) for frame in part.frames]
        elif isinstance(part, Image):
            found.append((part, request.image_budget))
    return found


class PromptWriter:
    """Writes prompts for one checkpoint."""

    def __init__(
        self, tokenizer: Tokenizer, *, model: str, context: int, modalities: frozenset[str], vocab: int | None = None
    ) -> None:
        """vocab: ids the weights know; None: all that the tokenizer gives."""
        self.tokenizer = tokenizer
        self.vocab = vocab
        self.model = model
        self.context = context
        self.modalities = modalities
        self._opening = tokenizer.encode("<|turn>model\n")
        self._marks = {self._id(f"<|{kind}|>"): kind for kind in ("image", "audio", "video")}

    def write(self, request: Request, count: Callable[[Medium, int | None], int]) -> Prompt:
        """The prompt of `request`. count: rows that the features of a medium take, within an image budget.

        Raises InputError where the checkpoint cannot take what the request holds, or not that much of it."""
        ids, spans = self._written(request, count)
        if len(ids) >= self.context:
            raise InputError(
                f"the prompt has {len(ids)} tokens, but {self.model} "
                f"accepts at most {self.context - 1}: shorten the prompt"
            )
        self._check_ids(ids)
        in_thought = request.raw is None and self._ends_in_thought(ids)
        return Prompt(tuple(ids), tuple(spans), in_thought, tuple(self._model_turns(ids)))

    def length(self, request: Request, count: Callable[[Medium, int | None], int]) -> int:
        """Return the tokens of the prompt that `write` would write, however many they are. Raises InputError."""
        return len(self._written(request, count)[0])

    def _written(self, request: Request, count: Callable[[Medium, int | None], int]) -> tuple[list[int], list[Span]]:
        if request.raw is not None:
            return self._raw(request.raw), []
        media = [part for message in request.messages for part in message.parts if not isinstance(part, Text)]
        for part in media:
            self._check(part)
        return self._with_media(self._template_ids(request), media, count, request.image_budget)

    def _raw(self, text: str) -> list[int]:
        """The ids that `text` spells, after the token that begins every prompt."""
        start = [self._id("<bos>")] if self.tokenizer.id_of("<bos>") is not None else []
        ids = start + self.tokenizer.encode(clean(text))
        if not ids:
            raise InputError("the prompt is empty: write a prompt")
        if not self._marks.keys().isdisjoint(ids):
            raise InputError("a raw prompt can contain only text: leave out <|image|>, <|audio|> and <|video|>")
        return ids

    def _check(self, part: Part) -> None:
        kind = kind_of(part)
        if kind not in self.modalities:
            able = ", ".join(["text", *sorted(self.modalities)])
            raise InputError(f"{name_of(part)}: {self.model} accepts no {kind}, only {able}: choose another --model")
        if isinstance(part, Audio) and (seconds := len(part.samples) / SAMPLE_RATE) > MAX_AUDIO_S:
            raise InputError(
                f"{part.name}: the audio is {seconds:.1f} s long, but {self.model} accepts at most {MAX_AUDIO_S} s: "
                "shorten the audio, or use gemma transcribe"
            )

    def _check_ids(self, ids: list[int]) -> None:
        """Raise ModelError for an id without a row in the weights: a tokenizer may leave gaps, or lack a bracket. Those
        that stand for media are never looked up."""
        most = self.vocab or max(ids, default=0) + 1
        if ids and (min(ids) < 0 or max(ids) >= most):
            for token in set(ids) - self._marks.keys():
                if not 0 <= token < most:
                    raise ModelError(
                        f"{self.model}: the tokenizer has token id {token}, but the weights have only {most} tokens"
                    )

    def _template_ids(self, request: Request) -> list[int]:
        turns = turns_of(request.messages)
        tools = plain_data(request.tools)
        for name in keys_in((turns, tools)):
            if any(token in name for token in self.tokenizer.special):
                raise InputError(f"the name {name!r} in a tool is a control token of the model: choose another name")
        try:
            return self.tokenizer.chat(turns, tools, request.thinking)
        except GemmaError:
            raise
        except Exception as error:  # jinja2 and the template raise what they like
            reason = " ".join(str(error).split())[:300]
            raise TemplateRefused(f"{self.model}: the chat template rejects this conversation: {reason}") from error

    def _with_media(
        self,
        ids: list[int],
        media: list[Image | Audio | Video],
        count: Callable[[Medium, int | None], int],
        budget: int | None,
    ) -> tuple[list[int], list[Span]]:
        """The template's one placeholder per part, opened up to the rows the part takes."""
        kinds = self._marks
        if not media and kinds.keys().isdisjoint(ids):
            return ids, []
        if [kinds[i] for i in ids if i in kinds] != [kind_of(part) for part in media]:
            raise ModelError(
                f"{self.model}: the chat template does not support images, audio or video; choose another --model"
            )
        waiting = iter(media)
        written: list[int] = []
        spans: list[Span] = []
        for i in ids:
            if i not in kinds:
                written.append(i)
                continue
            part = next(waiting)
            within = FRAME_BUDGET if isinstance(part, Video) else budget
            for text, medium in _media_of(part):
                written += self.tokenizer.encode(text) if text else ()
                length = count(medium, within)
                opening, closing = self._brackets("audio" if isinstance(medium, Audio) else "image")
                spans.append(Span(len(written) + 1, length, medium, within))
                written += [opening, *[i] * length, closing]
        return written, spans

    def _id(self, token: str) -> int:
        """-1, which no prompt holds, for a token the vocabulary lacks."""
        found = self.tokenizer.id_of(token)
        return -1 if found is None else found

    def _brackets(self, kind: str) -> tuple[int, int]:
        return self._id(f"<|{kind}>"), self._id(f"<{kind}|>")

    def _ends_in_thought(self, ids: list[int]) -> bool:
        opening, closing, turn = map(self._id, ("<|channel>", "<channel|>", "<|turn>"))
        return next((i == opening for i in reversed(ids) if i in (opening, closing, turn)), False)

    def _model_turns(self, ids: list[int]) -> Iterator[int]:
        mark, length = self._opening[0], len(self._opening)
        start = -1
        for _ in range(ids.count(mark)):
            start = ids.index(mark, start + 1)
            if ids[start : start + length] == self._opening:
                yield start + length


def _media_of(part: Image | Audio | Video) -> Iterator[tuple[str, Medium]]:
    """Yield each medium of a part, with the text before it."""
    if not isinstance(part, Video):
        yield "", part
        return
    for index, (frame, seconds) in enumerate(zip(part.frames, part.seconds, strict=True)):
        space = " " if index else ""
        yield f"{space}{int(seconds // 60):02d}:{int(seconds % 60):02d} ", frame
