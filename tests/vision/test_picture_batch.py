"""Pictures that go through the tower together have the rows they have alone, and each goes through once."""

from __future__ import annotations

import numpy as np
import torch

from gemma_cli.core.messages import Request, Video, ask
from gemma_cli.engines.local.encoders.picture_batch import PictureBatcher
from gemma_cli.engines.local.encoders.towers import MediaEncoders
from gemma_cli.engines.local.text.prompt import pictures
from gemma_cli.media.pictures.image import frame_from_pixels, from_pixels


def drawn(count, seed=0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(30, 500, (count, 2))
    return [from_pixels(rng.integers(0, 256, (*size, 3), np.uint8), f"{n}") for n, size in enumerate(sizes)]


def towers(pocket):
    old = pocket.towers
    return MediaEncoders(old.folder, old.config, old.device, old.dtype)


def test_together_as_alone_to_the_last_bit(pocket):
    together, alone = towers(pocket), towers(pocket)
    for first, count, budgets in ((0, 2, (70,)), (2, 5, (70, 140))):
        batch = [(picture, budget) for picture in drawn(count, first) for budget in budgets]
        together.look(batch)
        for picture, budget in batch:
            assert torch.equal(together.features(picture, budget), alone.features(picture, budget))


def test_each_is_encoded_once_whoever_asks(pocket, monkeypatch):
    encoders = towers(pocket)
    counted = []
    seen = encoders._seen
    encoders._pictures._embed = lambda pixels, places: counted.append(len(pixels)) or seen(pixels, places)
    encoders._pictures._agree = {280: True}
    batch = [(picture, None) for picture in drawn(5)]
    for _ in range(3):
        encoders.look(batch)
        for picture, budget in batch:
            encoders.count(picture, budget)
            encoders.features(picture, budget)
    assert sum(counted) == 5


def test_a_tower_that_sums_in_another_order_is_asked_one_by_one():
    def embed(pixels, places):
        return pixels.flatten(0, 1) + (len(pixels) > 1) * 1e-7

    batcher = PictureBatcher(embed, lambda places: [places.shape[1]] * len(places))
    pixels = [(torch.rand(1, 4, 3), torch.zeros(1, 4, 2)) for _ in range(5)]
    for _ in range(2):
        assert all(torch.equal(rows, one[0]) for rows, (one, _) in zip(batcher.encode(pixels), pixels, strict=True))


def test_frames_have_their_own_budget():
    picture, frame = drawn(1)[0], frame_from_pixels(np.zeros((9, 9, 3), np.uint8), "b")
    asked = Request(ask(Video((frame, frame), (0.0, 1.0), "b"), picture, "?"), image_budget=560)
    assert pictures(asked) == [(frame, 70), (frame, 70), (picture, 560)]
