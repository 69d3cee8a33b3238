"""Stages B and C: the decoder learns to read, then to read, see and hear together.

Both are one loop over packed batches; they differ in how many rows of a batch are text, pictures and speech, and in
the first diet of B, copying. The towers have learned alone and are frozen here: their soft tokens are computed once
(`training.stages.media_features`).
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Gemma4ForConditionalGeneration

from training import shapes, tokenizer
from training.data import long_chats, scenes, speech, task_mix
from training.data.exchange import Diet as TaskDiet
from training.stages import media_features
from training.stages.audio_tower import report
from training.stages.decoder_pass import loss_and_accuracy
from training.stages.optim import DEVICE, Clock, Optimizer, compiled, half_precision, save
from training.stages.packing import Batch, Encoder, Example, Rows

ROW = 256
CHATS, CHAT = 4, 1_024
"""Long chats in a batch of them, and their length: as many tokens as in a batch of short rows."""


@dataclass(frozen=True)
class Plan:
    """What a stage's batches hold: rows of each medium; a special diet's share of the text, and until when (0..1);
    which share of the batches are long chats instead, and which are passages; how many pictures are drawn."""

    name: str
    text: int
    image: int
    audio: int
    diet: TaskDiet
    share: float
    until: float
    chats: float = 0.0
    passages: float = 0.0
    pictures: int = media_features.PICTURES


READ = Plan("read", text=11, image=3, audio=0, diet=task_mix.COPYING, share=0.75, until=0.35)
JOIN = Plan("join", text=9, image=3, audio=6, diet=task_mix.POLISH, share=0.5, until=1.0)
POLISH = Plan("polish", text=11, image=2, audio=4, diet=task_mix.POLISH, share=0.7, until=1.0, chats=0.4)
PASSAGES = Plan(
    "passages", text=11, image=2, audio=4, diet=task_mix.POLISH, share=0.7, until=1.0, chats=0.15, passages=0.5,
    pictures=2_048,
)  # fmt: skip


class Diet:
    """An endless source of examples of each medium."""

    def __init__(self, encoder: Encoder, seed: int):
        self.encoder, self.rng = encoder, random.Random(seed)
        self.pictures: list[tuple[scenes.Scene, torch.Tensor]] = []
        self.utterances: list[tuple[speech.Utterance, torch.Tensor]] = []
        self.recorded: list[tuple[speech.Utterance, torch.Tensor]] = []
        """Passages."""

    def text(self, special: TaskDiet, share: float) -> Iterator[Example]:
        """Text exchanges, a share of them from a special diet."""
        while True:
            diet = special if self.rng.random() < share else task_mix.TASKS
            yield self.encoder.exchange(task_mix.sample_exchange(self.rng, diet))

    def image(self) -> Iterator[Example]:
        while True:
            scene, features = self.rng.choice(self.pictures)
            question, answer = media_features.picture_task(scene, self.rng)
            kind = f"scene {len(scene.shapes)}" if answer == scene.caption else "scene question"
            yield self.encoder.media(kind, "image", question, answer, features)

    def audio(self) -> Iterator[Example]:
        """Utterances under one prompt, which they share."""
        return self._asked(lambda: self.rng.choice(self.utterances))

    def passages(self) -> Iterator[Example]:
        """Passages under one prompt, half of them two recordings end to end."""
        return self._asked(lambda: media_features.some_passage(self.recorded, self.rng))

    def _asked(self, draw: Callable[[], tuple[speech.Utterance, torch.Tensor]]) -> Iterator[Example]:
        asked = media_features.some_asking(self.rng)
        while True:
            utterance, features = draw()
            if asked.fits(utterance):
                kind = f"speech into {asked.target}" if asked.target else f"{utterance.language} {utterance.kind}"
                yield self.encoder.media(kind, "audio", asked.prompt, asked.answer(utterance), features)

    def chats(self, count: int, length: int) -> Batch:
        """A few long chats of everything."""
        source = long_chats.Chats(self.encoder, self.rng, self.pictures, self.utterances, length)
        rows = Rows(length, self.encoder.ids, shapes.WINDOW)
        rows.add(iter(source.draw, None), count)
        return rows.batch()

    def passage_rows(self) -> Batch:
        """Passages in as many tokens as a batch of chats has."""
        rows = Rows(CHAT, self.encoder.ids, shapes.WINDOW)
        for _ in range(CHATS):
            rows.add(self.passages(), 1, shared=True)
        return rows.batch()

    def batch(self, plan: Plan, progress: float) -> Batch:
        """The rows of one step. progress: how much of the stage is done, 0..1."""
        chance = self.rng.random()
        if chance < plan.chats:
            return self.chats(CHATS, CHAT)
        if chance < plan.chats + plan.passages:
            return self.passage_rows()
        rows = Rows(ROW, self.encoder.ids, shapes.WINDOW)
        rows.add(self.text(plan.diet, plan.share if progress < plan.until else 0.0), plan.text)
        if plan.image:
            rows.add(self.image(), plan.image)
        for _ in range(plan.audio):
            rows.add(self.audio(), 1, shared=True)
        return rows.batch()


def new_model(runs: Path, encoder: Encoder) -> Gemma4ForConditionalGeneration:
    """A fresh decoder behind whatever the towers have learned so far."""
    model = shapes.new_target(encoder.ids)
    load_towers(runs, model)
    return model.to(DEVICE)


def load_towers(runs: Path, model: Gemma4ForConditionalGeneration) -> None:
    """Put the separately trained towers into the model."""
    for name, part, tower in (
        ("listen", "listener", model.model.audio_tower),
        ("look", "looker", model.model.vision_tower),
    ):
        path = runs / f"{name}.pt"
        if path.exists():
            state = torch.load(path, weights_only=True, map_location=DEVICE)[part]
            tower.load_state_dict({k.removeprefix("tower."): v for k, v in state.items() if k.startswith("tower.")})


def best_stage(runs: Path) -> Path:
    """The furthest decoder checkpoint there is.

    Raises:
        FileNotFoundError: no stage has begun.
    """
    for plan in (PASSAGES, POLISH, JOIN, READ):
        if (path := runs / f"{plan.name}.pt").exists():
            return path
    raise FileNotFoundError(f"{runs} holds no read.pt, join.pt, polish.pt or passages.pt: run those stages first")


def train(runs: Path, plan: Plan, minutes: float, lr: float, start: Path | None = None) -> None:
    """Run a stage for so many minutes in all: from its last checkpoint, or else from another stage's result."""
    encoder = Encoder(tokenizer.load(runs / "tokenizer"))
    model = new_model(runs, encoder)
    checkpoint, spent, resumed = runs / f"{plan.name}.pt", 0.0, None
    if checkpoint.exists():
        resumed = torch.load(checkpoint, weights_only=True, map_location=DEVICE)
        model.load_state_dict(resumed["model"])
        spent = resumed["spent"]
    elif start is not None:
        model.load_state_dict(torch.load(start, weights_only=True, map_location=DEVICE)["model"])
        load_towers(runs, model)
    for tower in (model.model.audio_tower, model.model.vision_tower):
        tower.requires_grad_(False)
    optimizer = Optimizer(model, lr)
    if resumed is not None:
        optimizer.load_state_dict(resumed["optimizer"])
    diet = Diet(encoder, 7 + optimizer.steps)
    if plan.image:
        diet.pictures = media_features.pictures(runs, model, plan.pictures)
    if plan.audio:
        diet.utterances = media_features.utterances(runs, model)
    if plan.passages:
        diet.recorded = media_features.passages(runs, model)
    clock = Clock(minutes, spent)
    compiled(model.model.language_model)
    report(f"{plan.name} begins at {clock.at(optimizer)}")
    saved, exact, losses = clock.spent, defaultdict(list), []
    while clock.progress < 1:
        batch = diet.batch(plan, clock.progress).to(DEVICE)
        with half_precision():
            loss, right = loss_and_accuracy(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(clock.progress)
        losses.append(loss.item())
        for kind, first, last in batch.answers:
            exact[kind].append(right[first:last].min().item())
        if optimizer.steps % 50 == 0:
            table = " ".join(f"{kind}:{sum(x) / len(x):.2f}" for kind, x in sorted(exact.items()))
            report(f"{plan.name} {clock.at(optimizer)} loss {sum(losses) / len(losses):.3f} exact {table}")
            exact.clear()
            losses.clear()
        if clock.spent - saved > 240 or clock.progress >= 1:
            saved = clock.spent
            save(checkpoint, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "spent": clock.spent})
