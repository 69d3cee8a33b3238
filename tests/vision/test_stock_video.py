"""What the tower gets of a video, against transformers' own video processor, which takes torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gemma_cli.core.messages import FRAME_BUDGET, Frame, Request, Video, ask
from gemma_cli.media.pictures.image import frame_from_pixels, from_pixels

pytest.importorskip("torchvision")

SIZES = [(256, 320), (480, 640), (720, 1280), (1000, 401), (48, 64), (7, 300), (640, 640)]


def moving(height, width, count=3):
    pixels = np.random.default_rng(height).integers(0, 256, (count, height // 4 + 1, width // 4 + 1, 3), np.uint8)
    return np.ascontiguousarray(pixels.repeat(4, 1).repeat(4, 2)[:, :height, :width])


def stock_processor(towers):
    from transformers.models.gemma4.video_processing_gemma4 import Gemma4VideoProcessor

    processor = towers.stock.image_processor
    return Gemma4VideoProcessor(patch_size=processor.patch_size, pooling_kernel_size=processor.pooling_kernel_size)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_pixels_of_frames_are_stock_s_to_the_last_bit(pocket, height, width):
    pixels = moving(height, width)
    video = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    stock = stock_processor(pocket.towers)(videos=[video], do_sample_frames=False, return_tensors="pt")
    for number, frame in enumerate(pixels):
        values, places = pocket.towers._prepared(frame_from_pixels(frame, "a"), FRAME_BUDGET)
        assert torch.equal(values[0], stock["pixel_values_videos"][number].to(values.dtype))
        assert torch.equal(places[0], stock["video_position_ids"][number])


def test_the_prompt_is_stock_s(pocket):
    """mm:ss and a block of soft tokens for each frame, a space between two, whatever --detail is."""
    seconds = (0.0, 1.0, 61.04, 3600.5)
    video = Video(tuple(frame_from_pixels(pixels, "a") for pixels in moving(256, 320, 4)), seconds, "a")
    prompt = pocket.writer.write(Request(ask(video, "Describe this video."), image_budget=1120), pocket.towers.count)
    stock = stock_processor(pocket.towers)(
        videos=[torch.from_numpy(moving(256, 320, 4)).permute(0, 3, 1, 2)], do_sample_frames=False, return_tensors="pt"
    )
    count = int(stock["num_soft_tokens_per_video"][0])
    frames = " ".join(
        f"{int(s // 60):02d}:{int(s % 60):02d} <|image>{'<|video|>' * count}<image|>" for s in seconds
    )  # processing_gemma4.py, replace_video_token
    tokenizer = pocket.tokenizer
    ids = [tokenizer.id_of(name) for name in ("<|image>", "<|video|>", "<image|>")]
    wanted: list[int] = []
    for index, second in enumerate(seconds):
        stamp = f"{' ' if index else ''}{int(second // 60):02d}:{int(second % 60):02d} "
        wanted += [*tokenizer.encode(stamp), ids[0], *[ids[1]] * count, ids[2]]
    at = prompt.ids.index(ids[0]) - len(tokenizer.encode("00:00 "))
    assert list(prompt.ids[at : at + len(wanted)]) == wanted
    assert frames.count("<|video|>") == sum(span.length for span in prompt.media)


def test_a_picture_with_the_pixels_of_a_frame_is_prepared_as_a_picture(pocket):
    (pixels,) = moving(480, 640, 1)
    picture, frame = from_pixels(pixels, "a"), frame_from_pixels(pixels, "a")
    assert picture.digest == frame.digest
    assert isinstance(frame, Frame)
    assert not torch.equal(pocket.towers.features(picture, 70), pocket.towers.features(frame, 70))
