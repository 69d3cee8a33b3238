"""The finished checkpoint as two hub repositories: `pocket` and `pocket-assistant`, in bfloat16.

Each folder is written aside and swapped in whole, so a reader never meets half a model.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Gemma4AssistantForCausalLM, Gemma4ForConditionalGeneration, GenerationConfig, PreTrainedModel

from training import shapes, tokenizer
from training.data import scenes, speech
from training.stages.decoder import best_stage
from training.tokenizer import control_ids

DRAFT_TOKENS = 4


def generation_config(ids: dict[str, int], **more: object) -> GenerationConfig:
    """Gemma 4's own defaults: it stops at <eos>, at the end of its turn and where a tool has to answer."""
    return GenerationConfig(
        bos_token_id=ids["<bos>"],
        pad_token_id=ids["<pad>"],
        eos_token_id=[ids["<eos>"], ids["<turn|>"], ids["<|tool_response>"]],
        do_sample=True,
        temperature=1.0,
        top_p=0.95,
        top_k=64,
        **more,
    )


def processor_config() -> dict[str, Any]:
    """processor_config.json in Gemma 4's layout: how sound and pictures become what the towers take."""
    extractor = speech.feature_extractor().to_dict()
    extractor = {k: v for k, v in extractor.items() if k not in ("window", "mel_filters", "processor_class")}
    extractor |= {key: np.ravel(extractor[key]).tolist() for key in ("per_bin_mean", "per_bin_stddev")}
    pictures = json.loads(json.dumps(scenes.image_processor().to_dict(), default=str))
    pictures.pop("image_processor_type", None)
    frames = {"num_frames": 32, "do_sample_frames": True, "video_processor_type": "Gemma4VideoProcessor"}
    return {
        "processor_class": "Gemma4Processor",
        "audio_ms_per_token": 40,
        "audio_seq_length": 750,
        "image_seq_length": 70,
        "feature_extractor": json.loads(json.dumps(extractor, default=float)),
        "image_processor": pictures | {"image_processor_type": "Gemma4ImageProcessor"},
        "video_processor": pictures | frames,  # vLLM reads it; to gemma a video is its frames
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_target(model: Gemma4ForConditionalGeneration, tokenizer_folder: Path, folder: Path) -> None:
    """The target with everything that `from_pretrained` of tokenizer, model and processors looks for."""
    words = tokenizer.load(tokenizer_folder)
    ids = control_ids(words)
    model.generation_config = generation_config(ids)
    model.config.eos_token_id = [ids["<eos>"], ids["<turn|>"]]
    _save(model, folder)
    words.save_pretrained(folder)
    _write_json(folder / "processor_config.json", processor_config())


def write_drafter(model: Gemma4AssistantForCausalLM, tokenizer_folder: Path, folder: Path) -> None:
    """The drafter, with the target's tokenizer as Google's assistants have it; it needs no processor."""
    words = tokenizer.load(tokenizer_folder)
    model.generation_config = generation_config(
        control_ids(words), num_assistant_tokens=DRAFT_TOKENS, num_assistant_tokens_schedule="constant"
    )
    _save(model, folder)
    words.save_pretrained(folder)


def _save(model: PreTrainedModel, folder: Path) -> None:
    """Weights rounded to bfloat16 in one safetensors file; the model in memory keeps its own precision."""
    half = type(model)(model.config)
    half.load_state_dict(model.state_dict())
    half = half.to(torch.bfloat16)
    half.generation_config = model.generation_config
    half.config.dtype = torch.bfloat16
    half.save_pretrained(folder)
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o644)  # safetensors writes for the owner alone


def checksums(root: Path) -> None:
    """SHA256SUMS of every file below, as sha256sum -c reads it."""
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name != "SHA256SUMS" and ".pocket" not in str(p))
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(root).as_posix()}"
        for p in files
        if p.parent != root
    ]
    (root / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def swap(new: Path, folder: Path) -> None:
    """Put a finished folder in another's place with two renames."""
    old = folder.with_name(f".old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def export(runs: Path, root: Path) -> None:
    """Write the newest target and drafter of a run into `root` (gemma_cli/pocket)."""
    words = tokenizer.load(runs / "tokenizer")
    target, drafter = shapes.new_target(control_ids(words)), shapes.new_drafter()
    target.load_state_dict(torch.load(best_stage(runs), weights_only=True, map_location="cpu")["model"])
    if (runs / "draft.pt").exists():
        drafter.load_state_dict(torch.load(runs / "draft.pt", weights_only=True, map_location="cpu")["model"])
    elif drafter.masked_embedding is not None:
        drafter.masked_embedding.token_ordering.copy_(torch.arange(shapes.VOCABULARY))
    root.mkdir(parents=True, exist_ok=True)
    for name, write, model in (("pocket", write_target, target), ("pocket-assistant", write_drafter, drafter)):
        aside = root / f".new-{name}"
        shutil.rmtree(aside, ignore_errors=True)
        write(model, runs / "tokenizer", aside)
        swap(aside, root / name)
    checksums(root)
