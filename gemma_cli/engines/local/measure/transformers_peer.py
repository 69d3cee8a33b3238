"""The peer: transformers' own `generate` behind the engines' seam, on the model that a LocalEngine runs.

It reads the same token ids, in the same number format on the same device, and drafts with the same drafter
(`assistant_model`). Its seed draws other numbers than ours, so only its greedy texts can be compared. A reply is told
when it is whole; when its tokens came is taken down by the streamer, as they are handed out.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from gemma_cli.core.channels import ChannelParser
from gemma_cli.core.errors import InputError, ModelError
from gemma_cli.core.events import Done, Event, Round, Timings, Usage
from gemma_cli.core.messages import Request, Sampling
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.engines.local.loading.random_weights import RandomWeights
from gemma_cli.engines.local.loading.synthetic import drafter_config, target_config
from gemma_cli.engines.local.text.detokenize import Detokenizer
from gemma_cli.store.models.checkpoints import OFF, SYNTHETIC, resolve


@dataclass
class Clock:
    """A streamer for `generate`: (when, how many tokens) of each hand-out, and the tokens."""

    bursts: list[tuple[float, int]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    _past_prompt: bool = False

    def put(self, ids: Tensor) -> None:
        if self._past_prompt:
            self.bursts.append((perf_counter(), ids.numel()))
            self.tokens += ids.flatten().tolist()
        self._past_prompt = True

    def end(self) -> None:
        """`generate` calls it; there is nothing to flush."""


class StockEngine:
    """Made by `open_stock`. Text only; one request at a time; nothing is kept between them."""

    def __init__(self, beside: LocalEngine, model: Any, assistant: Any | None) -> None:
        import transformers

        self._own, self._model, self._assistant = beside, model.eval(), assistant and assistant.eval()
        self.info = replace(
            beside.info,
            model=f"transformers {transformers.__version__}",
            quantize=None,
            exact=None,
            notice=None,
            synthetic_acceptance=None,
        )

    def stream(self, request: Request) -> Generator[Event, None, None]:
        """See engines.Engine.stream. Raises InputError for media, ModelError for what transformers cannot do."""
        prompt = self._own.writer.write(request, self._own.towers.count)
        if prompt.media:
            raise InputError("--against transformers supports only text: leave out pictures, sound and videos")
        drafts = request.drafting.draft_tokens if self._assistant is not None else 0
        limit = min(request.sampling.max_tokens, self.info.context - len(prompt.ids))
        clock = Clock()
        began = perf_counter()
        self._generate(prompt.ids, request.sampling, drafts, limit, clock)
        yield from self._text(clock.tokens, prompt.in_thought)
        yield from _rounds(clock.bursts, drafts, limit)
        first, last = clock.bursts[0][0], clock.bursts[-1][0]
        yield Done(
            "stop" if clock.tokens[-1] in self._own.generation.stop else "length",
            Usage(len(prompt.ids), len(clock.tokens)),
            Timings(None, first - began, last - first),
        )

    def _generate(self, ids: tuple[int, ...], sampling: Sampling, drafts: int, limit: int, clock: Clock) -> None:
        torch.manual_seed(sampling.seed)
        if drafts and self._assistant is not None:  # generate() takes the number from here and from nowhere else
            self._assistant.generation_config.num_assistant_tokens = drafts
        prompt = torch.tensor([ids], device=self._own.target.device)
        try:
            with torch.inference_mode():
                self._model.generate(
                    prompt,
                    attention_mask=torch.ones_like(prompt),
                    generation_config=self._config(sampling, limit),
                    assistant_model=self._assistant if drafts else None,
                    streamer=clock,
                )
        except Exception as error:  # whatever a library raises, the comparison is off
            raise ModelError(f"transformers cannot generate with this model: {' '.join(str(error).split())}") from error

    def _config(self, sampling: Sampling, limit: int) -> Any:
        from transformers import GenerationConfig

        warm = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
        return GenerationConfig(
            max_new_tokens=limit,
            do_sample=sampling.temperature > 0,
            **(warm if sampling.temperature else {"temperature": None, "top_k": None, "top_p": None}),
            eos_token_id=sorted(self._own.generation.stop) or None,
            suppress_tokens=list(self._own.generation.suppress) or None,
            pad_token_id=0,
        )

    def _text(self, tokens: list[int], in_thought: bool) -> Iterator[Event]:
        text, parser = Detokenizer(self._own.tokenizer), ChannelParser(in_thought)
        for token in tokens:
            yield from parser.feed(text.feed(token))
        yield from parser.feed(text.flush())
        yield from parser.flush()


def _rounds(bursts: list[tuple[float, int]], drafts: int, limit: int) -> Iterator[Round]:
    """A hand-out is a target pass: its drafts that were kept, and one token of the target's own. The first is the
    prefill's."""
    left = limit - 1
    for _, count in bursts[1:]:
        yield Round(min(drafts, left - 1) if left > 1 else 0, count - 1)
        left -= count


def open_stock(engine: LocalEngine) -> StockEngine:
    """Load transformers' classes beside `engine`: as much memory again. Raises ModelError where they do not load."""
    info = engine.info
    quiet()
    if info.model.startswith(SYNTHETIC):
        return StockEngine(engine, *_synthetic(engine, info.model.removeprefix(SYNTHETIC)))
    resolved = resolve(info.model, info.assistant or OFF)
    assert resolved.folder is not None  # only synthetic models have none
    device, dtype = engine.target.device, engine.target.dtype
    model = _load("AutoModelForMultimodalLM", resolved.folder, device, dtype)
    drafter = resolved.assistant_folder
    return StockEngine(engine, model, _load("AutoModelForCausalLM", drafter, device, dtype) if drafter else None)


def quiet() -> None:
    """Keep transformers' progress bars and advice off the terminal."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _load(kind: str, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    import transformers

    try:
        model = getattr(transformers, kind).from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    except Exception as error:  # config, tensors, memory: many libraries, many exceptions
        raise ModelError(f"transformers cannot load {folder}: {' '.join(str(error).split())}") from error
    return model.to(device)


def _synthetic(engine: LocalEngine, name: str) -> tuple[Any, Any | None]:
    """The stock classes in the same shapes, with random weights too; the large tables are the engine's own."""
    from transformers import (
        Gemma4AssistantForCausalLM,
        Gemma4ForCausalLM,
        Gemma4UnifiedAssistantForCausalLM,
        Gemma4UnifiedForCausalLM,
    )

    unified = name == "12b"
    tables = {"model.embed_tokens.weight": engine.target.embedding, "lm_head.weight": engine.target.embedding}
    if engine.target.per_layer is not None:
        tables["model.embed_tokens_per_layer.weight"] = engine.target.per_layer.table
    device, dtype = engine.target.device, engine.target.dtype
    target = Gemma4UnifiedForCausalLM if unified else Gemma4ForCausalLM
    model = filled(target, target_config(name), tables, device, dtype)
    if engine.drafter is None:
        return model, None
    drafter = Gemma4UnifiedAssistantForCausalLM if unified else Gemma4AssistantForCausalLM
    return model, filled(drafter, drafter_config(name), {}, device, dtype)


def filled(
    kind: Any, config: dict[str, Any], tables: dict[str, Tensor], device: torch.device, dtype: torch.dtype
) -> Any:
    """A model that takes `tables` as they are and random numbers for the rest; its empty weights are never touched,
    so they cost no memory."""
    from transformers.initialization import no_init_weights

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with no_init_weights():
            model = kind(kind.config_class(**config))
    finally:
        torch.set_default_dtype(before)
    source = RandomWeights(device, dtype)
    state = {}
    for key, value in model.state_dict().items():
        known = tables.get(key)
        state[key] = source.take(key, value.shape, value.dtype) if known is None else known
    if "lm_head.weight" in state and "model.embed_tokens.weight" in state:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, assign=True)
    return model.to(device)
