"""What the frozen towers make of pictures and recordings, computed once; and what is asked about them."""

import dataclasses
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from transformers import Gemma4ForConditionalGeneration

from gemma_cli.commands import describe_image
from gemma_cli.speech import instructions
from training.data import grammar, scenes, speech
from training.stages import audio_tower, vision_tower
from training.stages.optim import DEVICE, save

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PICTURES = 8_000
SHARDS = {"en": 4, "de": 4, "fr": 4, "es": 4}
"""Shards of the corpus the decoder learns to read; the tower has heard more."""


T = TypeVar("T", bound="DataclassInstance")


def kept(
    path: Path, restore: Callable[..., T], make: Callable[[], list[tuple[T, torch.Tensor]]]
) -> list[tuple[T, torch.Tensor]]:
    """Return the (item, soft tokens) pairs that `make` gives, computed once and saved in a file.

    restore: makes an item from its fields.
    """
    if not path.exists():
        pairs = make()
        save(
            path, {"items": [dataclasses.asdict(item) for item, _ in pairs], "tokens": [tokens for _, tokens in pairs]}
        )
    state = torch.load(path, weights_only=True, map_location=DEVICE)
    return [(restore(**item), tokens) for item, tokens in zip(state["items"], state["tokens"], strict=True)]


@torch.no_grad()
def seen(model: Gemma4ForConditionalGeneration, count: int, seed: int) -> list[tuple[scenes.Scene, torch.Tensor]]:
    """Scenes with the vision tower's soft tokens for them, float16."""
    rng = random.Random(f"scenes-{seed}")
    pairs: list[tuple[scenes.Scene, torch.Tensor]] = []
    for _ in range(count // 32):
        batch = [scenes.sample_scene(rng) for _ in range(32)]
        pixels, places = vision_tower.collate(batch)
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
        output = model.model.audio_tower(*audio_tower.collate(batch))
        for item, hidden, mask in zip(batch, output.last_hidden_state, output.attention_mask, strict=True):
            pairs.append((item.utterance, hidden[mask].half().cpu()))
    return pairs


def pictures(
    runs: Path, model: Gemma4ForConditionalGeneration, count: int = PICTURES
) -> list[tuple[scenes.Scene, torch.Tensor]]:
    """Training scenes as the finished vision tower sees them, kept in the run's folder while the tower stays."""
    made = int((runs / "look.pt").stat().st_mtime) if (runs / "look.pt").exists() else 0
    return kept(runs / f"seen-{made}.pt", scenes.restore, lambda: seen(model, count, 0))


def utterances(runs: Path, model: Gemma4ForConditionalGeneration) -> list[tuple[speech.Utterance, torch.Tensor]]:
    """The training corpus as the finished audio tower hears it, kept in the run's folder."""
    paths = [
        path
        for language, count in SHARDS.items()
        for path in sorted((runs / "speech").glob(f"{language}-[0-9]*.npz"))[:count]
    ]
    return kept(runs / "heard.pt", speech.Utterance, lambda: heard(model, speech.load_shards(paths)))


def passages(runs: Path, model: Gemma4ForConditionalGeneration) -> list[tuple[speech.Utterance, torch.Tensor]]:
    """Recorded passages as the finished audio tower hears them, kept in the run's folder."""

    def make() -> list[tuple[speech.Utterance, torch.Tensor]]:
        recorded = speech.load_shards(sorted((runs / "speech").glob("??-passages-*.npz")))
        return heard(model, sorted(recorded, key=lambda passage: len(passage.features)))

    return kept(runs / "heard-passages.pt", speech.Utterance, make)


def some_passage(
    recorded: list[tuple[speech.Utterance, torch.Tensor]], rng: random.Random
) -> tuple[speech.Utterance, torch.Tensor]:
    """A recorded passage, or with even chance two of a language end to end, without translations.

    The audio tower looks back only a little, so that soft tokens end to end are nearly those of the sound end to end.
    """
    first, tokens = rng.choice(recorded)
    if rng.random() < 0.5:
        return first, tokens
    second, more = rng.choice(recorded)
    while second.language != first.language:
        second, more = rng.choice(recorded)
    spoken, written = f"{first.spoken} {second.spoken}", f"{first.written} {second.written}"
    return speech.Utterance("passage", first.language, spoken, written), torch.cat([tokens, more])


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


@dataclass(frozen=True)
class Asking:
    """A prompt for recordings. source and target are language codes, None where the prompt names none."""

    prompt: str
    source: str | None
    target: str | None = None

    def fits(self, utterance: speech.Utterance) -> bool:
        """Whether it can be asked of a recording: of its language, and for a translation of a sentence."""
        return self.source in (None, utterance.language) and self.target in (None, *utterance.translations)

    def answer(self, utterance: speech.Utterance) -> str:
        """The transcript, and where a translation is asked the form the model card describes."""
        if self.target is None:
            return utterance.written
        return f"{utterance.written}\n{grammar.LANGUAGES[self.target]}: {utterance.translations[self.target]}"


def transcription(source: str) -> Asking:
    """The product's own prompt for a language."""
    return Asking(instructions.transcription(grammar.LANGUAGES[source]), source)


def speech_translation(source: str, target: str) -> Asking:
    """The product's own prompt for a pair of languages."""
    return Asking(instructions.translation(grammar.LANGUAGES[source], grammar.LANGUAGES[target]), source, target)


_ASKINGS = (
    (5, transcription("en")), (4, transcription("de")), (4, transcription("fr")), (4, transcription("es")),
    (4, Asking(instructions.transcription(None), None)), (1.5, Asking("Transcribe this.", None)),
    (2, speech_translation("en", "de")), (1, speech_translation("en", "fr")), (1, speech_translation("en", "es")),
    (2, speech_translation("de", "en")), (1, speech_translation("fr", "en")), (1, speech_translation("es", "en")),
)  # fmt: skip


def some_asking(rng: random.Random) -> Asking:
    """A prompt, the product's own more often than not."""
    return rng.choices([asking for _, asking in _ASKINGS], [weight for weight, _ in _ASKINGS])[0]
