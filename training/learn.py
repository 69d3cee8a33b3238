"""Stages B and C: the decoder learns to read, then to read, see and hear together.

Both are one loop over packed batches; they differ in how many rows of a batch are text, pictures and speech, and in
the first diet of B, copying. The towers have learned alone and are frozen here: their soft tokens are computed once.
"""

import dataclasses
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Gemma4ForConditionalGeneration

from gemma_cli.commands import describe_image, transcribe, translate
from training import listen, look, scenes, shapes, speech, tasks, tokenizer
from training.decoder import loss_and_accuracy
from training.listen import report
from training.optim import DEVICE, Clock, Optimizer, save
from training.pack import Encoder, Example, Rows

ROW = 256
PICTURES = 3_200
SHARDS = 10


@dataclass(frozen=True)
class Plan:
    """What a stage's batches hold: rows of each medium; a special diet's share of the text, and until when (0..1)."""

    name: str
    text: int
    image: int
    audio: int
    diet: dict
    share: float
    until: float


READ = Plan("read", text=11, image=3, audio=0, diet=tasks.COPYING, share=0.75, until=0.35)
JOIN = Plan("join", text=8, image=3, audio=3, diet=tasks.COPYING, share=0.35, until=0.9)
POLISH = Plan("polish", text=12, image=1, audio=1, diet=tasks.POLISH, share=1.0, until=1.0)


def kept(path: Path, kind: Callable, make: Callable[[], list[tuple]]) -> list[tuple]:
    """What `make` gives, computed once and kept in a file: (item, soft tokens) pairs, the items as plain fields."""
    if not path.exists():
        pairs = make()
        save(
            path, {"items": [dataclasses.asdict(item) for item, _ in pairs], "tokens": [tokens for _, tokens in pairs]}
        )
    state = torch.load(path, weights_only=True, map_location=DEVICE)
    return [(kind(**item), tokens) for item, tokens in zip(state["items"], state["tokens"], strict=True)]


@torch.no_grad()
def seen(model: Gemma4ForConditionalGeneration, count: int, seed: int) -> list[tuple[scenes.Scene, torch.Tensor]]:
    """Scenes with the vision tower's soft tokens for them, float16."""
    rng, pairs = random.Random(f"scenes-{seed}"), []
    for _ in range(count // 32):
        batch = [scenes.sample_scene(rng) for _ in range(32)]
        pixels, places = look.collate(batch)
        tokens = model.model.vision_tower(pixels, places).last_hidden_state.half().cpu()
        lengths = [(place >= 0).all(-1).sum().item() // 4 for place in places]
        pairs += zip(batch, tokens.split(lengths), strict=True)
    return pairs


@torch.no_grad()
def heard(
    model: Gemma4ForConditionalGeneration, recorded: list[speech.Recorded]
) -> list[tuple[speech.Utterance, torch.Tensor]]:
    """Utterances with the audio tower's soft tokens for them, float16."""
    pairs = []
    for start in range(0, len(recorded), 64):
        batch = recorded[start : start + 64]
        output = model.model.audio_tower(*listen.collate(batch))
        for item, hidden, mask in zip(batch, output.last_hidden_state, output.attention_mask, strict=True):
            pairs.append((item.utterance, hidden[mask].half().cpu()))
    return pairs


def pictures(runs: Path, model: Gemma4ForConditionalGeneration) -> list[tuple[scenes.Scene, torch.Tensor]]:
    """Training scenes as the finished vision tower sees them, kept in the run's folder while the tower stays."""
    made = int((runs / "look.pt").stat().st_mtime) if (runs / "look.pt").exists() else 0
    return kept(runs / f"seen-{made}.pt", scenes.restore, lambda: seen(model, PICTURES, 0))


def utterances(runs: Path, model: Gemma4ForConditionalGeneration) -> list[tuple[speech.Utterance, torch.Tensor]]:
    """The training corpus as the finished audio tower hears it, kept in the run's folder."""
    paths = sorted((runs / "speech").glob("en-[0-9]*.npz"))[:SHARDS]
    return kept(runs / "heard.pt", speech.Utterance, lambda: heard(model, speech.load_shards(paths)))


def picture_task(scene: scenes.Scene, rng: random.Random) -> tuple[str, str]:
    """A question about a scene and its answer; mostly the product's own."""
    chance = rng.random()
    if chance < 0.6:
        return describe_image.PROMPT, scene.caption
    if chance < 0.75:
        return rng.choice(
            ("What is in this image?", "What do you see?", "Describe the picture.", "What is this?")
        ), scene.caption
    if chance < 0.85:
        return "How many shapes are there?", str(len(scene.shapes))
    shape = rng.choice(scene.shapes)
    if chance < 0.93 and sum(s.form == shape.form for s in scene.shapes) == 1:
        return f"What colour is the {shape.form}?", f"{shape.colour.capitalize()}."
    if sum(s.colour == shape.colour for s in scene.shapes) == 1:
        return f"Which shape is {shape.colour}?", f"The {shape.form}."
    return describe_image.PROMPT, scene.caption


def speech_prompt(kind: int) -> str:
    """The prompts speech is asked with: one to a row, for the row's recordings share it."""
    return (
        transcribe.prompt("English"),
        transcribe.prompt(None),
        "Transcribe this.",
        translate.speech_prompt("English", "German"),
    )[kind]


def spoken_answer(utterance: speech.Utterance, translated: bool) -> str:
    """The transcript, and where a translation is asked the form the model card describes."""
    return f"{utterance.written}\nGerman: {utterance.translation}" if translated else utterance.written


class Diet:
    """An endless source of examples of each medium."""

    def __init__(self, encoder: Encoder, seed: int):
        self.encoder, self.rng = encoder, random.Random(seed)
        self.pictures: list[tuple[scenes.Scene, torch.Tensor]] = []
        self.utterances: list[tuple[speech.Utterance, torch.Tensor]] = []

    def text(self, special: dict, share: float) -> Iterator[Example]:
        """Text exchanges, a share of them from a special diet."""
        while True:
            diet = special if self.rng.random() < share else tasks.TASKS
            yield self.encoder.exchange(tasks.sample_exchange(self.rng, diet))

    def image(self) -> Iterator[Example]:
        while True:
            scene, features = self.rng.choice(self.pictures)
            question, answer = picture_task(scene, self.rng)
            kind = f"scene {len(scene.shapes)}" if answer == scene.caption else "scene question"
            yield self.encoder.media(kind, "image", question, answer, features)

    def audio(self) -> Iterator[Example]:
        """Recordings under one prompt; translation has sentences only."""
        prompt = self.rng.choices(range(4), (9, 5, 2, 3))[0]
        while True:
            utterance, features = self.rng.choice(self.utterances)
            if prompt == 3 and utterance.kind != "sentence":
                continue
            kind = "speech translation" if prompt == 3 else f"heard {utterance.kind}"
            yield self.encoder.media(
                kind, "audio", speech_prompt(prompt), spoken_answer(utterance, prompt == 3), features
            )


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
        diet.pictures = pictures(runs, model)
    if plan.audio:
        diet.utterances = utterances(runs, model)
    clock = Clock(minutes, spent)
    report(f"{plan.name} begins at {clock.at(optimizer)}")
    saved, exact, losses = clock.spent, defaultdict(list), []
    while clock.progress < 1:
        rows = Rows(ROW, encoder.ids, shapes.WINDOW)
        rows.add(diet.text(plan.diet, plan.share if clock.progress < plan.until else 0.0), plan.text)
        if plan.image:
            rows.add(diet.image(), plan.image)
        for _ in range(plan.audio):
            rows.add(diet.audio(), 1, shared=True)
        batch = rows.batch().to(DEVICE)
        loss, right = loss_and_accuracy(model, batch)
        loss.backward()
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
