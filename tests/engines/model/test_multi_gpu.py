"""A target over several devices says what it says on one, and no operation of it mixes devices.

The devices are pretended (pretended.py): none of this has been run on several GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.events import collect
from gemma_cli.core.messages import Image, Request, Sampling, ask
from gemma_cli.engines import open_engine
from gemma_cli.engines.local import engine, opening
from gemma_cli.engines.local.decoding.cuda_graphs import rounds_for
from gemma_cli.engines.local.decoding.decode import FixedDraftLength, decode
from gemma_cli.engines.local.decoding.sampling import Sampler
from gemma_cli.engines.local.loading.batch_invariance import measured
from gemma_cli.engines.local.loading.build import build_drafter, build_target
from gemma_cli.engines.local.loading.load import load_target
from gemma_cli.engines.local.loading.memory.placement import Placement
from gemma_cli.engines.local.loading.random_weights import RandomWeights
from gemma_cli.engines.local.model.drafter import Drafter
from gemma_cli.engines.local.model.layers.expert_stack import ExpertStack
from gemma_cli.engines.local.model.layers.linear import Linear
from gemma_cli.engines.local.model.multi_gpu import SpreadTarget
from gemma_cli.engines.local.model.row_rule import FIXED
from gemma_cli.engines.local.model.schema.architecture import read_architecture, read_drafter
from gemma_cli.engines.local.model.target import Target
from tests.engines.helpers import pretended_devices, shapes, tiny

CPU = torch.device("cpu")
SAME = torch.device("cpu", 0)  # another name of it
HOME, FIRST, SECOND = (torch.device("meta", index) for index in range(3))
POCKET = Path(__file__).parents[3] / "gemma_cli" / "pocket" / "pocket"
SAMPLED = Sampling(temperature=3.0, seed=4, max_tokens=6)


class Weights(RandomWeights):
    """The same on every device, and of every weight."""

    def linears(self, name: str, shape: tuple[int, int, int]) -> Sequence[Linear]:
        """Experts that are alike, as they are on a CPU."""
        if self.device.type == "cpu":
            return super().linears(name, shape)
        return ExpertStack.of_floats(self.take(name, shape[1:]).expand(shape))

    def table(self, name: str, shape: Sequence[int]) -> Tensor:
        return self.take(name, shape)


def made(name: str, *devices: torch.device) -> tuple[Target, Drafter]:
    """A tiny pair of a shape: its first layers on the first devices, one each, the rest on the last."""
    arch = read_architecture(shapes.text_config(name).to_dict())
    *others, home = devices
    lies: list[torch.device] = []
    if others:
        tail = min(arch.last_own_sliding, arch.last_own_full)
        lies = [others[index * len(others) // tail] for index in range(tail)]
        lies += [home] * (len(arch.layers) - tail)
    source = Weights(home, torch.float32)
    target = build_target(arch, source, home, torch.float32, lies)
    config = shapes.stock_drafter(name).config.to_dict()
    return target, build_drafter(read_drafter(config, read_architecture(config["text_config"])), source, target)


def passes(target: Target, drafter: Drafter) -> tuple[list[Tensor], list[int]]:
    """What comes out of every way through a target: prompts in several passes, past the window and with a picture;
    rows verified, rolled back and verified again; a snapshot; a draft step; and a reply."""
    device, hidden = target.device, target.hidden_size
    ids = torch.arange(3, 73, device=device)
    blocks = torch.full((70,), -1, device=device)
    blocks[30:36] = 0
    features = torch.ones(6, hidden, device=device) * torch.arange(6, device=device)[:, None]
    cache = target.new_cache()
    came: list[Tensor] = [
        *target.prefill(
            ids, cache, features=features, feature_mask=blocks >= 0, image_blocks=blocks, chunk=target.arch.window
        )
    ]
    kept = cache.snapshot()
    came += target.verify(ids[:5], cache)
    cache.rollback(cache.length - 3)
    came += target.verify(ids[7:9], cache)
    cache.restore(kept)
    last = target.verify(ids[10:13], cache)
    logits, _, state = drafter.step(ids[:1], last[1][-1:], drafter.begin(target, cache, cache.length))
    came += [*last, logits, state]
    assert {tensor.device for tensor in came} == {device}
    last = last[0][-1:], last[1][-1:]
    bursts = decode(
        target, drafter, cache, last, Sampler(SAMPLED), FixedDraftLength(2), stop=(), limit=SAMPLED.max_tokens
    )
    return came, [token for burst in bursts for token in burst.tokens]


@torch.inference_mode()
def side_by_side(target: Target) -> list[Tensor]:
    """Two sequences that are decoded as one, as on a CPU."""
    caches = [target.new_cache(), target.new_cache()]
    for cache, count in zip(caches, (9, 40), strict=True):
        target.prefill(torch.arange(3, 3 + count), cache)
    return list(target.verify_each(torch.tensor([7, 8, 9]), caches, (1, 2)))


@pytest.mark.parametrize("name", shapes.NAMES)
def test_three_devices_give_what_one_gives(name: str) -> None:
    torch.set_num_threads(1)
    states, said = passes(*made(name, CPU))
    with pretended_devices.devices():
        target, drafter = made(name, FIRST, SECOND, HOME)
        assert isinstance(target, SpreadTarget)
        assert target.devices == (FIRST, SECOND, HOME)
        found, heard = passes(target, drafter)
        for state, expected in zip(found, states, strict=True):
            torch.testing.assert_close(state.to(CPU), expected, rtol=1e-3, atol=1e-3)
    assert heard == said


@pytest.mark.parametrize("name", shapes.NAMES)
def test_two_names_of_the_cpu_give_the_bits_of_one(name: str) -> None:
    torch.set_num_threads(1)
    target, drafter = made(name, SAME, CPU)
    alone, its_drafter = made(name, CPU)
    assert target.devices == (SAME, CPU)
    for each in (target, alone):
        each.set_rows(measured(target))
    (found, heard), (states, said) = passes(target, drafter), passes(alone, its_drafter)
    found += side_by_side(target)
    states += side_by_side(alone)
    assert all(map(torch.equal, found, states))
    assert heard == said


def test_every_device_is_measured() -> None:
    with pretended_devices.devices():
        target, _ = made("e2b", FIRST, SECOND, HOME)
        assert measured(target).counts == (FIXED,)


def test_devices_that_are_mixed_are_found() -> None:
    """The test can fail: a forward that moves nothing does."""
    with pretended_devices.devices():
        spread, drafter = made("31b", FIRST, HOME)
        spread.__class__ = Target
        with pytest.raises(pretended_devices.Mixed):
            passes(spread, drafter)


def test_nothing_is_recorded_over_several_devices() -> None:
    spread, drafter = made("31b", SAME, CPU)
    spread.device = torch.device("cuda")
    assert rounds_for(spread, drafter, (), None) is None


def test_a_checkpoint_is_read_onto_several_devices() -> None:
    torch.set_num_threads(1)
    alone = load_target(POCKET, CPU, torch.float32)
    cut = min(alone.arch.last_own_sliding, alone.arch.last_own_full)
    lies = [SAME] * cut + [CPU] * (len(alone.layers) - cut)
    spread = load_target(POCKET, CPU, torch.float32, None, lies)
    assert spread.devices == (SAME, CPU)
    spread.set_rows(alone.rows)
    ids = torch.arange(500, 700)
    for target in (alone, spread):
        cache = target.new_cache()
        target.prefill(ids, cache)
        if target is alone:
            expected = target.verify(ids[:4], cache)
    assert all(map(torch.equal, target.verify(ids[:4], cache), expected))


def test_an_engine_over_several_devices_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the folder to the text: towers, reuse, drafts, what is kept of the pace."""
    torch.set_num_threads(1)
    folder = tiny.write_checkpoint(tmp_path / "tiny")
    pixels = np.arange(60 * 90 * 3, dtype=np.uint8).reshape(60, 90, 3)
    request = Request(ask("What is this?", Image("p", "p.png", pixels)), Sampling(seed=2, max_tokens=12))
    texts, rows = [], None
    for where in (Placement(CPU), Placement(CPU, (SAME, CPU, CPU, CPU))):
        monkeypatch.setattr(opening, "find", lambda name, plan, where=where: where)
        opened = open_engine(EngineSpec(model=str(folder), device="cpu", dtype="float32"))
        assert isinstance(opened, engine.LocalEngine)
        assert opened.info.device == " + ".join(dict.fromkeys(map(str, where.layers or [CPU])))
        rows = rows or opened.target.rows
        opened.target.set_rows(rows)
        texts.append([collect(opened.stream(request)).text for _ in range(2)])
    assert texts[0] == texts[1]
