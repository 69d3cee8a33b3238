"""Checkpoint folders laid out as on the hub, with small random weights: everything genuine but the size and the sense.

The vocabulary is bytes and control tokens under a template of the same shape as Gemma 4's, unless `tokenizer` names a
folder that holds a real one. Windows are short, so that short texts cross them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    AutoTokenizer,
    Gemma4AssistantConfig,
    Gemma4AssistantForCausalLM,
    Gemma4AudioConfig,
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4TextConfig,
    Gemma4VisionConfig,
)
from transformers.models.gemma.tokenization_gemma import GemmaTokenizer
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

CONTROL = {
    **{"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>", "mask_token": "<mask>"},
    **{"sot_token": "<|turn>", "eot_token": "<turn|>", "soc_token": "<|channel>", "eoc_token": "<channel|>"},
    **{"think_token": "<|think|>", "escape_token": '<|"|>', "std_token": "<|tool>", "etd_token": "<tool|>"},
    **{"stc_token": "<|tool_call>", "etc_token": "<tool_call|>"},
    **{"str_token": "<|tool_response>", "etr_token": "<tool_response|>"},
    **{"boi_token": "<|image>", "image_token": "<|image|>", "eoi_token": "<image|>"},
    **{"boa_token": "<|audio>", "audio_token": "<|audio|>", "eoa_token": "<audio|>"},
}
VIDEO = "<|video|>"

TEMPLATE = """\
{{- bos_token -}}
{%- set rest = messages -%}
{%- if enable_thinking or tools or messages[0]['role'] == 'system' -%}
{{- '<|turn>system\\n' -}}{%- if enable_thinking -%}{{- '<|think|>\\n' -}}{%- endif -%}
{%- if messages[0]['role'] == 'system' -%}
{{- messages[0]['content'] | trim -}}{%- set rest = messages[1:] -%}
{%- endif -%}
{%- for tool in tools or [] -%}{{- '<|tool>declaration:' + tool['function']['name'] + '<tool|>' -}}{%- endfor -%}
{{- '<turn|>\\n' -}}
{%- endif -%}
{%- set state = namespace(open=false) -%}
{%- for message in rest -%}
{{- '<|turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' -}}
{%- for call in message['tool_calls'] or [] -%}
{{- '<|tool_call>call:' + call['function']['name'] + '{' -}}
{%- for key, value in call['function']['arguments'] | dictsort -%}
{{- key + ':<|"|>' + value | string + '<|"|>' -}}{%- if not loop.last -%}{{- ',' -}}{%- endif -%}
{%- endfor -%}{{- '}<tool_call|>' -}}
{%- endfor -%}
{%- for answer in message['tool_responses'] or [] -%}
{{- '<|tool_response>response:' + answer['name'] + '{value:<|"|>' -}}
{{- answer['response'] | string + '<|"|>}<tool_response|>' -}}
{%- endfor -%}
{%- if message['content'] is string -%}{{- message['content'] | trim -}}{%- else -%}
{%- for item in message['content'] -%}
{%- if item['type'] == 'text' -%}{{- item['text'] | trim -}}
{%- elif item['type'] == 'image' -%}{{- '<|image|>' -}}
{%- elif item['type'] == 'audio' -%}{{- '<|audio|>' -}}
{%- elif item['type'] == 'video' -%}{{- '<|video|>' -}}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- set state.open = message['tool_responses'] and not message['content'] -%}
{%- if not state.open -%}{{- '<turn|>\\n' -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{%- if not state.open -%}{{- '<|turn>model\\n' -}}
{%- elif enable_thinking -%}{{- '<|channel>thought\\n' -}}{%- endif -%}
{%- endif -%}
"""


def byte_tokenizer() -> GemmaTokenizer:
    """A vocabulary of control tokens, printable letters and the 256 bytes: 400-odd ids, no merges but one."""
    pieces = [*CONTROL.values(), VIDEO, "\n", "\u2581", *map(chr, range(33, 127)), "th"]
    pieces += [f"<0x{byte:02X}>" for byte in range(256)]
    return GemmaTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)},
        merges=[("t", "h")],
        extra_special_tokens=[VIDEO],
        chat_template=TEMPLATE,
        **CONTROL,
    )


def text_config(vocab: int, **changes: Any) -> Gemma4TextConfig:
    layers = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]
    values: dict[str, Any] = {
        **{"vocab_size": vocab, "vocab_size_per_layer_input": vocab, "hidden_size": 32, "intermediate_size": 48},
        **{"num_hidden_layers": 4, "layer_types": layers, "num_kv_shared_layers": 2, "sliding_window": 16},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "global_head_dim": 16},
        **{"hidden_size_per_layer_input": 8, "max_position_embeddings": 2048, "final_logit_softcapping": 30.0},
    }
    return Gemma4TextConfig(**{**values, **changes})


def target_config(tokenizer: Any, vocab: int, **changes: Any) -> Gemma4Config:
    ids = tokenizer.convert_tokens_to_ids
    return Gemma4Config(
        text_config=text_config(vocab, **changes),
        vision_config=Gemma4VisionConfig(
            **{"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2},
            **{"num_key_value_heads": 2, "head_dim": 8, "position_embedding_size": 256},
        ),
        audio_config=Gemma4AudioConfig(
            **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "output_proj_dims": 16},
            subsampling_conv_channels=[32, 8],
        ),
        **{"boi_token_id": ids("<|image>"), "image_token_id": ids("<|image|>"), "eoi_token_id": ids("<image|>")},
        **{"boa_token_id": ids("<|audio>"), "audio_token_id": ids("<|audio|>"), "eoa_token_index": ids("<audio|>")},
        video_token_id=ids(VIDEO),
        tie_word_embeddings=True,
    )


def assistant_config(target: Gemma4Config, **changes: Any) -> Gemma4AssistantConfig:
    text = target.text_config
    values: dict[str, Any] = {
        **{"vocab_size": text.vocab_size, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2},
        **{"layer_types": ["sliding_attention", "full_attention"], "num_kv_shared_layers": 2},
        **{"sliding_window": text.sliding_window, "num_attention_heads": 2, "head_dim": 8, "global_head_dim": 16},
        **{"num_key_value_heads": 2, "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0},
        "max_position_embeddings": text.max_position_embeddings,
    }
    return Gemma4AssistantConfig(
        text_config=Gemma4TextConfig(**{**values, **changes}), backbone_hidden_size=text.hidden_size
    )


def randomized(model: torch.nn.Module, seed: int, scale: float) -> torch.nn.Module:
    """Weights drawn anew, wide enough for attention and logits to matter; buffers stay as they are."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dtype.is_floating_point and parameter.dim() > 1:
                parameter.normal_(0, scale, generator=generator)
            elif parameter.dtype.is_floating_point:
                parameter.uniform_(0.5, 1.5, generator=generator)
    return model.eval()


def write_checkpoint(
    folder: Path, *, tokenizer: Path | None = None, seed: int = 0, scale: float = 0.15, shards: int = 2, **text: Any
) -> Path:
    """A target in `folder` and its drafter beside it in `folder`-assistant. Returns `folder`."""
    words = AutoTokenizer.from_pretrained(tokenizer) if tokenizer else byte_tokenizer()
    vocab = len(words)
    config = target_config(words, vocab, **text)
    model = randomized(Gemma4ForConditionalGeneration(config), seed, scale)
    folder.mkdir(parents=True)
    model.config.save_pretrained(folder)
    _save_shards(model, folder, shards)
    if tokenizer:
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copyfile(tokenizer / file, folder / file)
    else:
        words.save_pretrained(folder)
    stops = words.convert_tokens_to_ids(["<eos>", "<turn|>", "<|tool_response>"])
    generation = {"eos_token_id": stops, "do_sample": True, "temperature": 1.0, "top_k": 64, "top_p": 0.95}
    # As in the 12B model's; random weights would say them, and transformers reads them back as padding.
    generation["suppress_tokens"] = words.convert_tokens_to_ids(["<|image|>", "<|audio|>", VIDEO])
    (folder / "generation_config.json").write_text(json.dumps(generation))
    image = json.loads(Gemma4ImageProcessorPil().to_json_string())
    audio = json.loads(Gemma4AudioFeatureExtractor(feature_size=32).to_json_string())
    (folder / "processor_config.json").write_text(
        json.dumps({"image_processor": image, "feature_extractor": audio, "processor_class": "Gemma4Processor"})
    )
    _write_assistant(folder.with_name(folder.name + "-assistant"), config, seed + 1, scale)
    return folder


def _write_assistant(folder: Path, target: Gemma4Config, seed: int, scale: float) -> None:
    model = randomized(Gemma4AssistantForCausalLM(assistant_config(target)), seed, scale)
    model.save_pretrained(folder)


def _save_shards(model: Gemma4ForConditionalGeneration, folder: Path, count: int) -> None:
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    names = sorted(state)
    files: dict[str, str] = {}
    for shard in range(count):
        file = f"model-{shard + 1:05d}-of-{count:05d}.safetensors"
        part = {name: state[name].clone() for name in names[shard::count]}
        save_file(part, folder / file, metadata={"format": "pt"})
        files |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
