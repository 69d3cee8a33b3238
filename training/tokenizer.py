"""The vocabulary: Gemma 4's control tokens, bytes to fall back on, single digits, and the grammar's words by BPE."""

import json
import random
from pathlib import Path

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import GemmaTokenizer

from gemma_cli.commands import describe_image
from gemma_cli.speech import instructions
from training.data import dialogue, grammar, scenes, task_mix
from training.data.exchange import Message
from training.shapes import CONTEXT, VOCABULARY

ATTRIBUTES = {
    "pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>", "mask_token": "<mask>",
    "std_token": "<|tool>", "etd_token": "<tool|>", "stc_token": "<|tool_call>", "etc_token": "<tool_call|>",
    "str_token": "<|tool_response>", "etr_token": "<tool_response|>", "escape_token": '<|"|>',
    "think_token": "<|think|>", "soc_token": "<|channel>", "eoc_token": "<channel|>", "sot_token": "<|turn>",
    "eot_token": "<turn|>", "boi_token": "<|image>", "boa_token": "<|audio>", "image_token": "<|image|>",
    "audio_token": "<|audio|>", "eoi_token": "<image|>", "eoa_token": "<audio|>",
}  # fmt: skip
"""Gemma 4's control tokens under the attribute names its tokenizer_config.json gives them."""

CONTROL = [*ATTRIBUTES.values(), "<|video|>"]
TEMPLATE = Path(__file__).with_name("chat_template.jinja").read_text()


def corpus(seed: int = 0) -> list[str]:
    """Texts to learn the words from: every task, every prompt of the product, every caption."""
    rng = random.Random(seed)
    texts = [instructions.transcription(language) for language in (None, *grammar.LANGUAGES.values())] * 300
    for other in ("German", "French", "Spanish"):
        texts += [instructions.translation("English", other), instructions.translation(other, "English")] * 100
    texts += [describe_image.PROMPT] * 300 + [scenes.sample_scene(rng).caption for _ in range(3_000)]
    texts += [text for _ in range(3_000) for text in grammar.sample_sentence(rng).written.values()]
    for _ in range(30_000):
        exchange = task_mix.sample_exchange(rng)
        texts += [m["content"] for m in exchange.messages] + [exchange.messages[-1].get("reasoning", "")]
    texts += [render([], tools=[dialogue.ADD, dialogue.NOW])] * 200
    return texts + ["user", "model", "system", "thought", "call", "response"] * 1_000


def train_tokenizer(seed: int = 0) -> Tokenizer:
    """A BPE in Gemma's manner: spaces become ▁, unknown characters become bytes.

    The pre-tokenizer that keeps merges inside words and digits apart serves training only. No merge crosses a word or
    joins two digits afterwards, so the tokenizer ships with Gemma's own, which splits nothing.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("▁", "merged_with_next"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split("\n", "isolated"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = [chr(c) for c in range(33, 127)] + list("äöüßÄÖÜéèêàâçñáíóúœîôûëï¿¡") + ["▁", "\n"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in CONTROL + bytes_],
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(seed), trainer)
    return tokenizer


def build(folder: Path) -> None:
    """Train the tokenizer and save it as a hub repository has it, with its configuration and the template."""
    trained = train_tokenizer()
    state = json.loads(trained.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] in CONTROL]  # bytes are ordinary entries
    state["pre_tokenizer"] = {
        "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False,
    }  # fmt: skip
    vocabulary = state["model"]["vocab"]
    if len(vocabulary) != VOCABULARY:
        raise RuntimeError(f"the corpus gave {len(vocabulary)} entries, not {VOCABULARY}")
    tokenizer = GemmaTokenizer(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        model_max_length=CONTEXT,
        extra_special_tokens=["<|video|>"],
        padding_side="left",
        **ATTRIBUTES,
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)


def load(folder: Path) -> GemmaTokenizer:
    """The saved tokenizer."""
    return GemmaTokenizer.from_pretrained(folder)


def control_ids(tokenizer: GemmaTokenizer) -> dict[str, int]:
    """The id of every control token."""
    return {token: tokenizer.convert_tokens_to_ids(token) for token in CONTROL}


def _raise(message: str) -> None:
    raise ValueError(message)


_environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
_environment.globals["raise_exception"] = _raise
_compiled = _environment.from_string(TEMPLATE)


def render(messages: list[Message], **variables: object) -> str:
    """The template as transformers renders it, compiled once: variables are tools, enable_thinking and the like."""
    return _compiled.render(messages=messages, bos_token="<bos>", **variables)
