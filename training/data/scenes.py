"""Pictures to describe: one to three plain shapes on a plain ground, and the sentence that names them."""

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from transformers.models.gemma4.image_processing_pil_gemma4 import (
    Gemma4ImageProcessorPil,
    convert_image_to_patches,
    get_aspect_ratio_preserving_size,
    pad_along_first_dim,
)

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = {
    "red": (220, 30, 35), "blue": (30, 70, 210), "green": (30, 150, 60), "yellow": (245, 210, 30),
    "black": (20, 20, 20), "orange": (240, 130, 20), "purple": (125, 45, 160),
}  # fmt: skip
GROUNDS = ((255, 255, 255), (255, 255, 255), (240, 240, 235), (200, 200, 200), (225, 235, 245), (245, 235, 215))
BUDGET = 70 * 2 * 2
"""Patches a picture may take: 70 tokens of two by two."""
MOST = 3
"""Shapes in a scene, at most."""
_NUMBER = ("no", "one", "two", "three")


@dataclass(frozen=True)
class Shape:
    """One shape; centre and radius as shares of the picture's width and height (radius of the shorter side)."""

    form: str
    colour: str
    x: float
    y: float
    radius: float
    turn: float
    shade: tuple[int, int, int]

    @property
    def name(self) -> str:
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.form}"


@dataclass(frozen=True)
class Scene:
    """A picture's content, shapes from left to right, and its size in pixels."""

    shapes: tuple[Shape, ...]
    width: int
    height: int
    ground: tuple[int, int, int]

    @property
    def caption(self) -> str:
        """\"A red circle, a blue star and a green cross." """
        names = [shape.name for shape in self.shapes]
        joined = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
        return f"{joined[0].upper()}{joined[1:]}."

    @property
    def count(self) -> str:
        return _NUMBER[len(self.shapes)]


def sample_scene(rng: random.Random, count: int | None = None) -> Scene:
    """A random scene of one to three shapes that keep apart from left to right."""
    count = count or rng.choice((1, 2, 2, 3, 3))
    side = rng.choice((256, 256, 256, 320, 384, 192, 480))
    ratio = rng.choice((1.0, 1.0, 1.0, 1.33, 1.5, 0.75)) if count < 3 else rng.choice((1.0, 1.0, 1.33, 1.5))
    shapes = []
    for index in range(count):
        slot = 1 / count
        radius = rng.uniform(0.08, (0.42, 0.24, 0.16)[count - 1])
        margin = min(radius / max(ratio, 1.0), slot / 2)
        x = index * slot + rng.uniform(margin, slot - margin)
        y = rng.uniform(radius, 1 - radius)
        colour = rng.choice(tuple(COLOURS))
        red, green, blue = (max(0, min(255, c + rng.randint(-18, 18))) for c in COLOURS[colour])
        turn = rng.choice((0.0, 0.0, rng.uniform(-0.25, 0.25)))
        shapes.append(Shape(rng.choice(SHAPES), colour, x, y, radius, turn, (red, green, blue)))
    return Scene(tuple(shapes), int(side * ratio), side, rng.choice(GROUNDS))


def restore(shapes: list[dict[str, Any]], width: int, height: int, ground: Iterable[int]) -> Scene:
    """A scene from its plain fields."""
    red, green, blue = ground
    return Scene(tuple(Shape(**shape) for shape in shapes), width, height, (red, green, blue))


def _outline(shape: Shape, width: int, height: int) -> list[tuple[float, float]]:
    """A polygon's corners in pixels."""
    r = shape.radius * min(width, height)
    if shape.form == "square":
        points = [(math.pi / 4 + k * math.pi / 2, r) for k in range(4)]
    elif shape.form == "triangle":
        points = [(-math.pi / 2 + k * 2 * math.pi / 3, r) for k in range(3)]
    elif shape.form == "star":
        points = [(-math.pi / 2 + k * math.pi / 5, r if k % 2 == 0 else 0.42 * r) for k in range(10)]
    else:  # a cross: an upright plus sign
        arm, far = 0.3, 0.95
        corners = [(-arm, -far), (arm, -far), (arm, -arm), (far, -arm), (far, arm), (arm, arm)]
        corners += [(-a, -b) for a, b in corners]
        points = [(math.atan2(b, a), r * math.hypot(a, b)) for a, b in corners]
    centre = shape.x * width, shape.y * height
    return [(centre[0] + d * math.cos(a + shape.turn), centre[1] + d * math.sin(a + shape.turn)) for a, d in points]


def draw(scene: Scene) -> Image.Image:
    """Paint a scene at twice its size and scale down, for smooth edges."""
    image = Image.new("RGB", (scene.width * 2, scene.height * 2), scene.ground)
    canvas = ImageDraw.Draw(image)
    for shape in scene.shapes:
        if shape.form == "circle":
            x, y, r = shape.x * image.width, shape.y * image.height, shape.radius * min(image.size)
            canvas.ellipse((x - r, y - r, x + r, y + r), fill=shape.shade)
        else:
            canvas.polygon(_outline(shape, *image.size), fill=shape.shade)
    return image.resize((scene.width, scene.height), Image.Resampling.BILINEAR)


def image_processor() -> Gemma4ImageProcessorPil:
    """Gemma 4's processor at its smallest budget; two by two patches of 16 pixels make a token."""
    return Gemma4ImageProcessorPil(max_soft_tokens=70, pooling_kernel_size=2)


def patches(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """The processor's patches (280, 768) before scaling to [0, 1], and their places (280, 2), a few times faster."""
    height, width = get_aspect_ratio_preserving_size(image.height, image.width, 16, BUDGET, 2)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    x, y = np.meshgrid(np.arange(width // 16), np.arange(height // 16), indexing="xy")
    places = np.stack([x, y], axis=-1).reshape(-1, 2)
    padded: tuple[np.ndarray, np.ndarray] = pad_along_first_dim(convert_image_to_patches(pixels, 16), places, BUDGET)
    return padded


def labels(scene: Scene, columns: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of columns x rows soft tokens the form, the colour and the rank from the left of the shape under it,
    counted from 1; 0 is the ground."""
    forms, colours, ranks = (np.zeros((rows, columns), np.int64) for _ in range(3))
    short = min(scene.width, scene.height)
    for rank, shape in enumerate(scene.shapes, 1):
        x = (np.arange(columns) + 0.5) / columns - shape.x
        y = (np.arange(rows) + 0.5) / rows - shape.y
        near = np.hypot(x[None] * scene.width / short, y[:, None] * scene.height / short) < shape.radius * 0.8
        near[min(rows - 1, int(shape.y * rows)), min(columns - 1, int(shape.x * columns))] = True
        forms[near] = SHAPES.index(shape.form) + 1
        colours[near] = tuple(COLOURS).index(shape.colour) + 1
        ranks[near] = rank
    return forms.reshape(-1), colours.reshape(-1), ranks.reshape(-1)
