"""The local engine on folders laid out as on the hub, and its towers against transformers' own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    Gemma4ForConditionalGeneration,
    Gemma4UnifiedAudioConfig,
    Gemma4UnifiedConfig,
    Gemma4UnifiedForConditionalGeneration,
    Gemma4UnifiedTextConfig,
    Gemma4UnifiedVisionConfig,
)

from gemma_cli.core.engine import EngineSpec
from gemma_cli.core.errors import InputError, ModelError, OutOfMemory
from gemma_cli.core.events import Delta, Done, Progress, Round, ToolCalled, collect
from gemma_cli.core.messages import (
    GREEDY,
    Audio,
    Drafting,
    Image,
    Message,
    Request,
    Sampling,
    Text,
    ToolCall,
    Video,
    ask,
)
from gemma_cli.engines import open_engine
from gemma_cli.engines.local.decoding.prefix_cache import SHORTEST
from gemma_cli.engines.local.encoders.audio_batch import padded
from gemma_cli.engines.local.encoders.towers import MediaEncoders
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.loading import load
from gemma_cli.engines.local.loading.generation_config import read_generation_config
from gemma_cli.engines.local.model.native_pass import of_target
from gemma_cli.engines.local.text.detokenize import Detokenizer
from gemma_cli.engines.local.text.tokenizer import load_tokenizer
from tests.engines.helpers import tiny
from tests.engines.text.test_prompt import TRUE, needs_true

noise = np.random.default_rng(3)
SAMPLES = noise.normal(0, 0.1, 48_000).astype(np.float32)


def picture(name: str, height: int = 60, width: int = 90) -> Image:
    return Image(name, f"{name}.png", noise.integers(0, 256, (height, width, 3), dtype=np.uint8))


def sound(name: str, samples: int = 20_000) -> Audio:
    return Audio(name, f"{name}.wav", SAMPLES[:samples])


PICTURE, OTHER, SOUND = picture("one"), picture("two", 100, 40), sound("voice")
TWIN = picture("of the size of the first")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_checkpoint(tmp_path_factory.mktemp("engine") / "tiny")


def fresh(folder: Path, **spec: Any) -> LocalEngine:
    engine = open_engine(EngineSpec(model=str(folder), device="cpu", dtype="float32", **spec))
    assert isinstance(engine, LocalEngine)
    return engine


@pytest.fixture(scope="module")
def engine(folder: Path) -> LocalEngine:
    return fresh(folder)


def said(engine: LocalEngine, request: Request) -> list[int]:
    """The token ids of a reply."""
    prompt = engine.writer.write(request, engine.towers.count)
    with closing(engine.tokens(request, prompt)) as bursts:
        return [token for burst in bursts for token in burst.tokens]


# Streams


def test_a_stream_is_deltas_and_rounds_and_one_done(engine: LocalEngine) -> None:
    request = Request(ask("Hello"), Sampling(seed=1, max_tokens=20), Drafting(3))
    events = list(engine.stream(request))
    done = events[-1]
    assert isinstance(done, Done)
    assert all(isinstance(event, (Delta, Round, Progress, ToolCalled)) for event in events[:-1])
    rounds = [event for event in events if isinstance(event, Round)]
    assert done.usage.completion_tokens == 20 == 1 + sum(1 + r.accepted for r in rounds)
    assert done.usage.prompt_tokens == len(engine.writer.write(request, engine.towers.count).ids)
    assert done.finish_reason == "length"
    timings = done.timings
    assert timings.load_s == engine.info.load_s
    assert timings.ttft_s is not None
    assert timings.ttft_s > 0
    assert timings.decode_s is not None
    assert timings.decode_s > 0


@pytest.mark.parametrize("drafts", [0, 3])
def test_wherever_a_stream_ends_its_figures_are_those_of_what_it_gave(engine: LocalEngine, drafts: int) -> None:
    request = Request(ask("Hello"), Sampling(seed=1, max_tokens=20), Drafting(drafts))
    events = list(engine.stream(request))
    whole = collect(events)
    for end in range(len(events)):
        turn = collect(events[:end])
        begun = any(isinstance(event, Progress) for event in events[:end])
        tokens = [event for event in events[: end + 1] if isinstance(event, Progress)]
        assert turn.usage.prompt_tokens == (whole.usage.prompt_tokens if begun else 0)
        if not isinstance(events[end], Progress):  # between the two a round is counted, and its tokens are not yet
            assert turn.usage.completion_tokens == begun + turn.speculation.target_passes + turn.speculation.accepted
        assert (turn.timings.ttft_s is not None) is begun
        assert all(a.usage.completion_tokens < b.usage.completion_tokens for a, b in itertools.pairwise(tokens))
    assert tokens[-1].usage == whole.usage
    assert tokens[-1].timings == whole.timings


def test_what_the_engine_says_of_itself(engine: LocalEngine, folder: Path) -> None:
    info = engine.info
    assert (info.model, info.assistant) == (str(folder), f"{folder}-assistant")
    assert (info.device, info.dtype, info.context) == ("cpu", "float32", 2048)
    assert info.modalities == {"image", "audio", "video"}
    assert info.load_s is not None


class Writing:
    """Makes an engine write given tokens: the sampler's choices are replaced, the loop around them is the real one."""

    def __init__(self, engine: LocalEngine, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        ids = engine.tokenizer.encode(text)
        start: list[int] = []

        def choose(_: object, logits: torch.Tensor, positions: torch.Tensor, ids_of: object = None) -> torch.Tensor:
            start.append(int(positions[0]))
            return torch.tensor([ids[min(int(p) - start[0], len(ids) - 1)] for p in positions])

        monkeypatch.setattr("gemma_cli.engines.local.decoding.sampling.Sampler.choose", choose)
        self.length = len(ids)


def test_thinking_is_told_apart_and_counted(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    Writing(engine, "<|channel>thought\nHm, é.\n<channel|>Yes: 🙂.<turn|>", monkeypatch)
    for length in (0, 4):
        turn = collect(engine.stream(Request(ask("?"), drafting=Drafting(length), thinking=True)))
        assert (turn.text, turn.thinking, turn.finish_reason) == ("Yes: 🙂.", "Hm, é.", "stop")
        inside = "<|channel>thought\nHm, é.\n<channel|>"
        assert turn.usage.thinking_tokens == len(engine.tokenizer.encode(inside))


def test_tool_calls_end_the_turn(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    Writing(engine, '<|tool_call>call:clock{zone:<|"|>Rome<|"|>}<tool_call|><|tool_response>', monkeypatch)
    turn = collect(engine.stream(Request(ask("Time?"))))
    assert turn.tool_calls == (ToolCall("clock", {"zone": "Rome"}),)
    assert (turn.text, turn.finish_reason) == ("", "tool_calls")
    Writing(engine, "<|tool_call>call:clock{<tool_call|><|tool_response>", monkeypatch)
    turn = collect(engine.stream(Request(ask("Time?"))))
    assert (turn.text, turn.tool_calls, turn.finish_reason) == ("", (), "stop")
    assert [(call.name, call.text) for call in turn.unreadable_calls] == [("clock", "call:clock{")]


def test_what_a_tool_declares_reaches_the_reader_of_its_calls(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a text without its end stops is clear only if the other argument cannot be left out."""
    Writing(engine, '<|tool_call>call:f{a:<|"|>left,b:90}<tool_call|><|tool_response>', monkeypatch)
    properties = {"a": {"type": "string", "description": "A."}, "b": {"type": "integer", "description": "B."}}
    for required, calls in ((["a", "b"], (ToolCall("f", {"a": "left", "b": 90}),)), (["a"], ())):
        parameters = {"type": "object", "properties": properties, "required": required}
        function = {"name": "f", "description": "F.", "parameters": parameters}
        turn = collect(engine.stream(Request(ask("?"), tools=({"type": "function", "function": function},))))
        assert turn.tool_calls == calls


def test_a_character_cut_off_by_the_limit(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    Writing(engine, "a🙂", monkeypatch)
    turn = collect(engine.stream(Request(ask("?"), Sampling(max_tokens=3))))
    assert (turn.text, turn.finish_reason) == ("a\ufffd", "length")


def test_closing_a_stream_leaves_the_engine_fit(engine: LocalEngine) -> None:
    request = Request(ask("Tell me more, please."), Sampling(seed=4, max_tokens=30))
    whole = collect(engine.stream(request))
    for taken in range(6):
        with closing(engine.stream(request)) as events:
            for _ in range(taken):
                next(events)
        assert collect(engine.stream(request)).text == whole.text


def test_an_interrupted_prefill_leaves_the_engine_fit(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request(ask("word " * 60), Sampling(seed=4, max_tokens=10))
    whole = said(engine, request)
    read = type(engine.target).read
    for calls in range(1, 3):
        seen: list[int] = []

        def interrupted(*arguments: Any, calls: int = calls, seen: list[int] = seen) -> Any:
            seen.append(1)
            result = read(*arguments)
            if len(seen) == calls:
                raise KeyboardInterrupt
            return result

        with monkeypatch.context() as patch:
            patch.setattr(type(engine.target), "read", interrupted)
            with pytest.raises(KeyboardInterrupt):
                said(engine, replace(request, messages=ask(f"{calls} other " + "word " * 59)))
        assert said(engine, request) == whole


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_is_said_in_one_line(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    request = Request(ask("Hello"), Sampling(seed=1, max_tokens=8))
    whole = said(engine, request)

    def full(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(type(engine.target), "verify", full)
        with pytest.raises(
            OutOfMemory, match="cpu has run out of memory: shorten the conversation, or choose a smaller"
        ):
            list(engine.stream(request))
    assert engine.live.cache is None
    assert said(engine, request) == whole


def test_a_model_too_large_to_load_is_said_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("gemma_cli.engines.local.loading.load.load_target", full)
    with pytest.raises(OutOfMemory, match=r"cpu has too little memory for .*: choose a smaller --model"):
        fresh(folder)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_weights_that_give_no_numbers_are_said_to(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    request = Request(ask("Hello"), Sampling(temperature, seed=1, max_tokens=8))
    whole = said(engine, request)
    with monkeypatch.context() as patch:
        patch.setattr(engine.drafter.norm, "weight", engine.drafter.norm.weight * torch.nan)
        assert said(engine, request) == whole, "a drafter that is broken changes nothing"
    with monkeypatch.context() as patch:
        patch.setattr(engine.target.norm, "weight", engine.target.norm.weight * torch.nan)
        patch.setattr(engine.target, "native_pass", of_target(engine.target))
        with pytest.raises(ModelError, match="the model computed invalid numbers"):
            list(engine.stream(request))
    assert said(engine, request) == whole


def test_no_tokens_is_refused(engine: LocalEngine) -> None:
    with pytest.raises(InputError, match="max tokens 0"):
        list(engine.stream(Request(ask("?"), Sampling(max_tokens=0))))


def test_another_seed_is_another_text(engine: LocalEngine) -> None:
    texts = {tuple(said(engine, Request(ask("Hello"), Sampling(seed=seed, max_tokens=12)))) for seed in range(20)}
    assert len(texts) == 20


def stock_reply(model: Any, engine: LocalEngine, request: Request) -> list[int]:
    """What generate says greedily to the same ids, with the media prepared by transformers."""
    prompt = engine.writer.write(request, engine.towers.count)
    options: dict[str, Any] = {}
    pictures = [span.medium.pixels for span in prompt.media if isinstance(span.medium, Image)]
    if pictures:
        prepared = engine.towers.stock.image_processor(
            images=pictures,
            input_data_format="channels_last",
            return_tensors="pt",
            max_soft_tokens=request.image_budget,
        )
        options |= {key: prepared[key] for key in ("pixel_values", "image_position_ids")}
    sounds = [span.medium.samples for span in prompt.media if isinstance(span.medium, Audio)]
    if sounds:
        options |= engine.towers.stock.feature_extractor(sounds, sampling_rate=16_000, return_tensors="pt")
    kinds = torch.zeros(1, len(prompt.ids), dtype=torch.int64)
    for span in prompt.media:
        kinds[0, span.start : span.start + span.length] = 1 if isinstance(span.medium, Image) else 3
    options["mm_token_type_ids"] = kinds
    ids = torch.tensor([prompt.ids])
    reply = model.generate(
        ids,
        **options,
        **{"do_sample": False, "max_new_tokens": request.sampling.max_tokens, "pad_token_id": 0},
        eos_token_id=sorted(engine.generation.stop),
        suppress_tokens=list(engine.generation.suppress),
    )
    found: list[int] = reply[0, len(prompt.ids) :].tolist()
    return found


@pytest.mark.parametrize(
    "parts",
    [("Hello",), ("word " * 60,), (PICTURE, "What?"), ("Listen:", SOUND), (PICTURE, OTHER, "Well?", SOUND, sound("b"))],
)
def test_greedy_replies_are_those_of_the_stock_model(engine: LocalEngine, folder: Path, parts: Any) -> None:
    """Prompts that lie in the window and that cross it, through our decoder and transformers'."""
    model: Any = Gemma4ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    request = Request(ask(*parts), replace(GREEDY, max_tokens=24), image_budget=70)
    assert said(engine, request) == stock_reply(model, engine, request)


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the 26B and 31B models': the rows of an image see each other."""
    path = tmp_path_factory.mktemp("seeing") / "seeing"
    return tiny.write_checkpoint(path, use_bidirectional_attention="vision", num_kv_shared_layers=0)


def test_images_that_see_both_ways(seeing: Path) -> None:
    engine = fresh(seeing)
    model: Any = Gemma4ForConditionalGeneration.from_pretrained(seeing, dtype=torch.float32).eval()
    for parts in ((PICTURE, "What?"), ("First", OTHER, "then", PICTURE, "?", SOUND)):
        request = Request(ask(*parts), replace(GREEDY, max_tokens=16), image_budget=70)
        assert said(engine, request) == stock_reply(model, engine, request)


# Reuse between requests


def conversation(engine: LocalEngine, turns: int) -> Iterator[Request]:
    """A chat that grows, with a picture and a sound, a retry, an edit and another beginning on the way."""
    messages = ask(PICTURE, "Look at this closely and remember all of it. " * 6, system="Be patient. " * 12)
    for turn in range(turns):
        yield Request(messages, Sampling(seed=turn, max_tokens=12), image_budget=70)
        answer = Message("assistant", (Text(f"Answer number {turn}, at some length."),), thinking="Dropped.")
        messages = (*messages, answer, *ask(f"And question {turn}?", *((SOUND,) if turn == 1 else ())))
    yield Request(messages, Sampling(seed=90, max_tokens=12), image_budget=70)
    yield Request(messages, Sampling(seed=91, max_tokens=12), image_budget=70)
    yield Request((*messages[:-1], *ask("Edited.")), Sampling(seed=92, max_tokens=12), image_budget=70)
    for seen in (PICTURE, TWIN, PICTURE):
        alike = ask(seen, "Look at this closely and remember all of it. " * 6, system="Be patient. " * 12)
        yield Request(alike, Sampling(seed=97, max_tokens=12), image_budget=70)
    swapped = ask(OTHER, "Look at this closely and remember all of it. " * 6, system="Be patient. " * 12)
    yield Request(swapped, Sampling(seed=93, max_tokens=12), image_budget=70)
    yield Request(swapped, Sampling(seed=93, max_tokens=12), image_budget=140)
    yield Request(messages[:2], Sampling(seed=94, max_tokens=12), image_budget=70)
    yield Request(ask("Hi"), Sampling(seed=95, max_tokens=12))
    yield Request(messages, Sampling(seed=96, max_tokens=12), image_budget=70)


@pytest.mark.parametrize(("which", "chunk"), [("folder", 16), ("folder", 128), ("seeing", 48)])
def test_reuse_gives_what_a_fresh_engine_gives(
    which: str, chunk: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = request.getfixturevalue(which)
    engine, other = fresh(path), fresh(path)
    for one in (engine, other):
        one.live.forget()
        monkeypatch.setattr(one.live, "chunk", chunk)
    reused = []
    for asked in conversation(engine, 4):
        prompt = engine.writer.write(asked, engine.towers.count)

        def features(span: Any) -> torch.Tensor:
            return engine.towers.features(span.medium, span.budget)

        cache, (logits, hidden), start = engine.live.read(prompt, features, 12)
        reused.append(start)
        other.live.forget()
        cache_b, (logits_b, hidden_b), nothing = other.live.read(prompt, features, 12)
        assert nothing == 0
        assert torch.equal(logits, logits_b)
        assert torch.equal(hidden, hidden_b)
        assert cache.length == cache_b.length == len(prompt.ids)
        assert said(engine, asked) == said(other, asked)
    turns, edited, rest = reused[1:6], reused[6], reused[8:]
    assert all(later >= earlier > 0 for earlier, later in itertools.pairwise(turns)), reused
    assert 0 < edited <= turns[-1], reused
    assert rest == [0] * len(rest), "another picture, also of the same size, another budget, another beginning"


def test_reuse_reads_only_what_is_new(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.live.forget()
    read: list[int] = []
    whole = type(engine.target).read

    def counted(target: Any, passes: Any) -> Any:
        read.extend(len(one.x) for one in passes)
        return whole(target, passes)

    def rows(*messages: Message) -> int:
        """Read of a prompt that ends with these."""
        read.clear()
        said(engine, Request(messages, Sampling(max_tokens=4)))
        return sum(read)

    def new(messages: tuple[Message, ...], before: tuple[Message, ...]) -> range:
        """What may be read after a prompt that ended with `before`: what came since, and a pass that is too short."""
        one, other = (len(engine.writer.write(Request(m), engine.towers.count).ids) for m in (before, messages))
        return range(other - one, other - one + engine.live.chunk // SHORTEST)

    monkeypatch.setattr(type(engine.target), "read", counted)
    first = ask("word " * 100)
    assert rows(*first) > 2 * engine.live.chunk
    assert rows(*first) in new(first, first), "a retry"
    chat = (*first, Message("assistant", (Text("An answer."),)), *ask("And another question, of a few words more?"))
    assert rows(*chat) in new(chat, first), "the answer and the next question"
    assert rows(*chat) in new(chat, chat), "a retry"
    edited = (*chat[:-1], *ask("Edited."))
    assert rows(*edited) in new(edited, first)
    engine.live.forget()
    assert rows(*first) > 2 * engine.live.chunk
    longer = ask("word " * 100 + "more")
    assert 0 < rows(*longer) <= 2 * engine.live.chunk, "another end of the same text"


def test_an_answer_does_not_change_what_a_retry_starts_from(engine: LocalEngine) -> None:
    engine.live.forget()
    prompt = engine.writer.write(Request(ask("Hello, and a few words more to make it long")), engine.towers.count)
    for _ in range(3):
        _, last, reused = engine.live.read(prompt, lambda span: torch.empty(0), 4)
        assert reused in (0, len(prompt.ids))
        for tensor in last:
            assert tensor.isfinite().all()
            with torch.inference_mode():
                tensor.fill_(float("nan"))


def test_media_in_the_cache_are_not_encoded_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = fresh(folder)
    monkeypatch.setattr("gemma_cli.engines.local.encoders.towers.KEPT", 0)
    encoded: list[str] = []
    image = MediaEncoders._image
    monkeypatch.setattr(MediaEncoders, "_image", lambda self, i, b: (encoded.append(i.name), image(self, i, b))[1])
    request = Request(ask(PICTURE, "word " * 100), Sampling(max_tokens=2), image_budget=70)
    said(engine, request)
    encoded.clear()
    said(engine, request)
    assert encoded == []


# Towers


def stock_features(folder: Path, towers: MediaEncoders, dtype: torch.dtype) -> Iterator[tuple[Any, torch.Tensor]]:
    """(medium and budget, what the stock model gives for it)."""
    kind = Gemma4UnifiedForConditionalGeneration if towers.unified else Gemma4ForConditionalGeneration
    model: Any = kind.from_pretrained(folder, dtype=dtype).eval()
    for image in (PICTURE, OTHER, picture("wide", 20, 400), picture("thin", 3, 50)):
        for budget in (70, 280, None):
            options = {"max_soft_tokens": budget} if budget else {}
            prepared = towers.stock.image_processor(
                images=[image.pixels], input_data_format="channels_last", return_tensors="pt", **options
            )
            with torch.no_grad():
                features = model.get_image_features(
                    prepared["pixel_values"].to(dtype), prepared["image_position_ids"], return_dict=True
                )
            yield (image, budget), torch.cat(features.pooler_output)
    for samples in (3_000, 16_000, 41_234):
        audio = sound(f"s{samples}", samples)
        prepared = towers.stock.feature_extractor([audio.samples], sampling_rate=16_000, return_tensors="pt")
        frames, mask = prepared["input_features"].to(dtype), prepared["input_features_mask"]
        if not towers.unified:
            frames, mask = padded((frames, mask))
        with torch.no_grad():
            heard = model.model.get_audio_features(frames, mask, return_dict=True)
        yield (audio, None), heard.pooler_output[heard.attention_mask]


def test_features_are_those_of_the_stock_model(folder: Path) -> None:
    towers = MediaEncoders(folder, load.read_config(folder), torch.device("cpu"), torch.float32)
    for (medium, budget), expected in stock_features(folder, towers, torch.float32):
        assert torch.equal(towers.features(medium, budget), expected), medium.name
        assert towers.count(medium, budget) == len(expected)


@pytest.fixture(scope="module")
def unified(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the 12B model's: no towers, patches and frames of samples projected as they are."""
    words = tiny.byte_tokenizer()
    text = tiny.text_config(len(words), num_kv_shared_layers=0).to_dict()
    known = {key: text[key] for key in text if key in Gemma4UnifiedTextConfig.__annotations__}
    config = Gemma4UnifiedConfig(
        text_config=Gemma4UnifiedTextConfig(**known, global_head_dim=16),
        vision_config=Gemma4UnifiedVisionConfig(mm_embed_dim=16, mm_posemb_size=1120, output_proj_dims=16),
        audio_config=Gemma4UnifiedAudioConfig(),
    )
    path = tmp_path_factory.mktemp("unified") / "unified"
    tiny.randomized(Gemma4UnifiedForConditionalGeneration(config), 5, 0.15).save_pretrained(path)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        (path / name).write_bytes((folder / name).read_bytes())
    processor = json.loads((folder / "processor_config.json").read_text())
    processor["feature_extractor"] = {"feature_extractor_type": "Gemma4UnifiedAudioFeatureExtractor"}
    (path / "processor_config.json").write_text(json.dumps(processor))
    return path


def test_features_without_towers_are_those_of_the_stock_model(unified: Path) -> None:
    towers = MediaEncoders(unified, load.read_config(unified), torch.device("cpu"), torch.float32)
    for (medium, budget), expected in stock_features(unified, towers, torch.float32):
        assert torch.equal(towers.features(medium, budget), expected), medium.name


def test_patches_of_48_pixels_are_merged_patches_of_16() -> None:
    """The unified image processor, which needs torchvision, merges 3 x 3 patches; here they are cut that size."""
    pixels = torch.arange(96 * 144 * 3, dtype=torch.float32).view(3, 96, 144)
    small = pixels.view(3, 6, 16, 9, 16).permute(1, 3, 2, 4, 0).reshape(6, 9, 16, 16, 3)
    merged = small.view(2, 3, 3, 3, 16, 16, 3).permute(0, 2, 1, 4, 3, 5, 6).reshape(6, -1)
    from transformers.models.gemma4.image_processing_pil_gemma4 import convert_image_to_patches

    assert np.array_equal(convert_image_to_patches(pixels.numpy(), 48), merged.numpy())


def test_the_unified_model_answers(unified: Path) -> None:
    engine = fresh(unified)
    request = Request(ask(PICTURE, "What is it?", SOUND), Sampling(seed=1, max_tokens=12), image_budget=70)
    assert 1 <= len(said(engine, request)) <= 12


def test_media_that_give_nothing_are_refused(engine: LocalEngine) -> None:
    with pytest.raises(InputError, match=r"nothing\.wav: too short"):
        list(engine.stream(Request(ask("?", Audio("none", "nothing.wav", SAMPLES[:10])))))
    thin = Image("thin", "thin.png", np.zeros((0, 10, 3), np.uint8))
    with pytest.raises(InputError, match=r"thin\.png"):
        list(engine.stream(Request(ask(thin, "?"))))


def test_a_checkpoint_without_towers_takes_text_only(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "deaf"
    path.mkdir()
    for file in folder.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    config = json.loads((path / "config.json").read_text())
    config["audio_config"] = None
    (path / "config.json").write_text(json.dumps(config))
    engine = fresh(path, assistant="off")
    assert engine.info.modalities == {"image", "video"}
    with pytest.raises(InputError, match=r"voice\.wav: .* accepts no audio, only text, image, video"):
        list(engine.stream(Request(ask("?", SOUND))))


# Tokenizer and generation config


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_detokenizing_token_by_token_gives_the_text_back(tokenizer: Any, text: str) -> None:
    text = text.replace("\u2581", "_")  # SentencePiece's own mark for a space
    detokenizer = Detokenizer(tokenizer)
    ids = tokenizer.encode(text)
    pieces = [detokenizer.feed(i) for i in ids]
    assert "".join(pieces) + detokenizer.flush() == text == tokenizer.decode(ids)
    assert not any("\ufffd" in piece for piece in pieces) or "\ufffd" in text


@pytest.fixture(scope="module", params=["bytes", pytest.param("true", marks=needs_true)])
def tokenizer(request: pytest.FixtureRequest, folder: Path) -> Any:
    return load_tokenizer(TRUE if request.param == "true" else folder)


def test_bytes_that_make_no_character_become_a_mark(tokenizer: Any) -> None:
    ids = map(tokenizer.id_of, ("a", "<0xF0>", "<0x9F>", "b", "<0xFF>", "<0xE2>", "<0x82>"))
    detokenizer = Detokenizer(tokenizer)
    shown = "".join(detokenizer.feed(i) for i in ids) + detokenizer.flush()
    assert shown == "a\ufffdb\ufffd\ufffd"


def test_stop_tokens_are_all_that_are_known(folder: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(folder)
    expected = set(map(tokenizer.id_of, ("<eos>", "<turn|>", "<|tool_response>")))
    assert read_generation_config(tmp_path, tokenizer, 400).stop == expected
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 77, "suppress_tokens": [5, 6]}')
    found = read_generation_config(tmp_path, tokenizer, 400)
    assert found.stop == expected | {77}
    assert found.suppress == (5, 6)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[]", "has no JSON object"),
        ("{", "is not valid JSON"),
        ('{"eos_token_id": "x"}', 'eos_token_id is "x", but a whole number'),
        ('{"eos_token_id": [1, true]}', r"eos_token_id\[1\] is true, but a whole number"),
        ('{"eos_token_id": 1e300}', r"eos_token_id is 1e\+300, but a whole number"),
        ('{"eos_token_id": {"a": 1}}', "eos_token_id is an object, but a whole number"),
        ('{"suppress_tokens": 5}', "suppress_tokens is 5, but a list"),
        ('{"suppress_tokens": [400]}', r"suppress_tokens\[0\] is 400, but a whole number from 0 to 399 is required"),
        ('{"suppress_tokens": [-1]}', r"suppress_tokens\[0\] is -1, but a whole number"),
        (
            json.dumps({"suppress_tokens": [*range(400)]}),
            "is a list of 400, but the model must have at least one token that is not suppressed",
        ),
    ],
)
def test_a_broken_generation_config_names_its_field(folder: Path, tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(ModelError, match=rf"generation_config\.json:? .*{says}"):
        read_generation_config(tmp_path, load_tokenizer(folder), 400)


def test_a_folder_without_tokenizer_or_template_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing; download the checkpoint again"):
        load_tokenizer(tmp_path)
    with pytest.raises(ModelError, match="the tokenizer has 377 tokens, but the weights have 300"):
        load_tokenizer(folder, 300)
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    with pytest.raises(ModelError, match="has no chat template"):
        load_tokenizer(tmp_path)


# Synthetic models


def test_a_synthetic_model_writes_as_many_tokens_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wiring around models too large to make here: pocket stands in for the random weights."""
    engine = fresh(Path("pocket"))
    made: list[str] = []

    def small(name: str, device: torch.device, dtype: torch.dtype, *_: object) -> tuple[Any, Any]:
        made.append(name)
        return engine.target, engine.drafter

    monkeypatch.setattr("gemma_cli.engines.local.loading.synthetic.open_synthetic", small)
    synthetic = open_engine(EngineSpec(model="synthetic:e2b", device="cpu"))
    plain = open_engine(EngineSpec(model="synthetic:e2b", assistant="off", device="cpu"))
    assert made == ["e2b", "e2b"]
    assert (synthetic.info.assistant, plain.info.assistant) == ("synthetic:e2b-assistant", None)
    assert synthetic.info.modalities == frozenset()
    request = Request(ask("a"), Sampling(max_tokens=30))
    turns = [collect(one.stream(request)) for one in (synthetic, plain)]
    assert all(turn.usage.completion_tokens == 30 and turn.finish_reason == "length" for turn in turns)


# Under the true vocabulary


@needs_true
def test_a_hub_folder_under_the_true_vocabulary_answers(tmp_path: Path) -> None:
    """Config, generation config, tokenizer, template, processor files, shards, the drafter beside it."""
    layers = ["sliding_attention", "full_attention"]
    path = tiny.write_checkpoint(
        tmp_path / "gemma-4-tiny-it",
        **{"tokenizer": TRUE, "shards": 3, "hidden_size": 16, "num_hidden_layers": 2, "layer_types": layers},
        **{"num_kv_shared_layers": 0, "hidden_size_per_layer_input": 4},
    )
    engine = fresh(path)
    assert engine.info.assistant == f"{path}-assistant"
    video = Video((PICTURE, OTHER), (0.0, 1.0), "video.mp4")
    request = Request(
        ask(PICTURE, video, "Was ist das? 你好 🙂", SOUND, system="Kurz."),
        Sampling(seed=2, max_tokens=10),
        thinking=True,
        image_budget=70,
    )
    plain = said(engine, replace(request, drafting=Drafting(0)))
    assert len(plain) == 10
    assert said(engine, replace(request, drafting=Drafting(4))) == plain
    greedy = replace(request, sampling=replace(GREEDY, max_tokens=10))
    assert said(engine, greedy) == said(engine, replace(greedy, drafting=Drafting(0)))
    turn = collect(engine.stream(request))
    assert turn.usage.completion_tokens == 10
    assert turn.finish_reason in ("length", "stop")
