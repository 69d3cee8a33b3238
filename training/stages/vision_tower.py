"""Stage V: the vision tower learns to see, alone.

Each of its soft tokens says which form and colour lies under it, and which shape from the left that is: with the third
the decoder finds the shapes already in the order it has to name them.
"""

import random
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from transformers import Gemma4VisionModel

from training import shapes
from training.data import scenes
from training.stages.audio_tower import report
from training.stages.optim import DEVICE, Clock, Optimizer, half_precision, save


class Looker(nn.Module):
    """The vision tower with three heads on every soft token: form, colour and rank from the left."""

    def __init__(self, tower: Gemma4VisionModel):
        super().__init__()
        self.tower: Gemma4VisionModel = tower
        width = tower.config.hidden_size
        self.norm = nn.RMSNorm(width, elementwise_affine=False)
        self.forms = nn.Linear(width, len(scenes.SHAPES) + 1)
        self.colours = nn.Linear(width, len(scenes.COLOURS) + 1)
        self.ranks = nn.Linear(width, scenes.MOST + 1)

    def forward(self, pixels: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Patches (batch, 280, 768) in [0, 1] -> soft tokens of all pictures end to end; form, colour, rank logits."""
        hidden = self.tower(pixels, places).last_hidden_state
        normed = self.norm(hidden).float()
        return hidden, (self.forms(normed), self.colours(normed), self.ranks(normed))


def collate(batch: list[scenes.Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw scenes into the tower's input: pixels (batch, 280, 768) in [0, 1], places (batch, 280, 2)."""
    drawn = [scenes.patches(scenes.draw(scene)) for scene in batch]
    pixels = torch.stack([torch.from_numpy(p) for p, _ in drawn]).float() / 255
    return pixels.to(DEVICE), torch.stack([torch.from_numpy(p) for _, p in drawn]).to(DEVICE)


def targets(batch: list[scenes.Scene], places: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The labels of every soft token, in the order the tower gives them: forms, colours, ranks."""
    labels: list[tuple[torch.Tensor, ...]] = []
    for scene, place in zip(batch, places, strict=True):
        columns, rows = ((place.max(0).values + 1) // 2).tolist()
        labels.append(tuple(torch.from_numpy(kind) for kind in scenes.labels(scene, columns, rows)))
    return tuple(torch.cat(kind).to(DEVICE) for kind in zip(*labels, strict=True))


def loss_of(looked: tuple[torch.Tensor, ...], wanted: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Cross entropy of the three heads, shapes counting threefold: most of a picture is ground."""
    weight = torch.where(wanted[0] > 0, 3.0, 1.0)
    losses = [F.cross_entropy(x, y, reduction="none") for x, y in zip(looked, wanted, strict=True)]
    return (sum(losses) * weight).mean()


def train(runs: Path, minutes: float, batch_size: int = 24, lr: float = 1.5e-3) -> None:
    """Run stage V for so many minutes in all, from its last checkpoint if there is one."""
    looker = Looker(shapes.new_vision_tower()).to(DEVICE)
    optimizer, clock, checkpoint = Optimizer(looker, lr), Clock(minutes), runs / "look.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=DEVICE)
        looker.load_state_dict(state["looker"])
        optimizer.load_state_dict(state["optimizer"])
        clock = Clock(minutes, state["spent"])
    rng = random.Random(1_000 + optimizer.steps)
    right = total = 0.0
    saved = clock.spent
    while clock.progress < 1:
        batch = [scenes.sample_scene(rng) for _ in range(batch_size)]
        pixels, places = collate(batch)
        wanted = targets(batch, places)
        with half_precision():
            _, looked = looker(pixels, places)
        loss = loss_of(looked, wanted)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(clock.progress)
        on = wanted[0] > 0
        all_right = torch.stack([x.argmax(-1) == y for x, y in zip(looked, wanted, strict=True)]).all(0)
        right += all_right[on].sum().item()
        total += on.sum().item()
        if optimizer.steps % 50 == 0:
            report(f"look {clock.at(optimizer)} loss {loss.item():.3f} tokens on shapes right {right / total:.3f}")
            right = total = 0.0
        if clock.spent - saved > 120 or clock.progress >= 1:
            saved = clock.spent
            save(checkpoint, {"looker": looker.state_dict(), "optimizer": optimizer.state_dict(), "spent": clock.spent})
