"""What the exported checkpoint can do, on items never trained on, with stock transformers `generate`, greedily.

python -m training evaluate            # the table, and gemma_cli/pocket/evaluation.json
"""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma4ForConditionalGeneration,
)

from gemma_cli.commands import describe_image
from training import grammar, listen, media, scenes, speech, tasks, voices


@dataclass
class Item:
    """One question: chat messages, the right answer, and its sound (16 kHz) or picture."""

    kind: str
    messages: list[dict]
    answer: str
    thinking: bool = False
    tools: list[dict] | None = None
    sound: np.ndarray | None = None
    picture: object = None


class Pocket:
    """The exported checkpoint behind stock classes, in float32 (bfloat16's rounding stays in the weights)."""

    def __init__(self, root: Path, device: str = "cpu"):
        folder = root / "pocket"
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.ear = AutoFeatureExtractor.from_pretrained(folder)
        self.eye = AutoImageProcessor.from_pretrained(folder)
        self.target = Gemma4ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).to(device).eval()
        self.drafter = (
            AutoModelForCausalLM.from_pretrained(root / "pocket-assistant", dtype=torch.float32).to(device).eval()
        )
        self.passes = 0
        self.target.model.language_model.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        self.passes += 1

    def inputs(self, items: list[Item]) -> dict[str, torch.Tensor]:
        """Items as one left-padded batch."""
        texts, inputs = [], {}
        sounds = [item.sound for item in items if item.sound is not None]
        if sounds:
            heard = self.ear(sounds, return_tensors="pt")
            inputs |= {"input_features": heard["input_features"], "input_features_mask": heard["input_features_mask"]}
        pictures = [item.picture for item in items if item.picture is not None]
        if pictures:
            seen = self.eye(pictures, return_tensors="pt")
            inputs |= {"pixel_values": seen["pixel_values"], "image_position_ids": seen["image_position_ids"]}
        for index, item in enumerate(items):
            text = self.tokenizer.apply_chat_template(
                item.messages,
                tools=item.tools,
                enable_thinking=item.thinking,
                add_generation_prompt=True,
                tokenize=False,
            )
            if item.sound is not None:
                count = int(inputs["input_features_mask"][index][::2][::2].sum())
                text = text.replace("<|audio|>", "<|audio>" + "<|audio|>" * count + "<audio|>")
            if item.picture is not None:
                count = int(seen["num_soft_tokens_per_image"][index])
                text = text.replace("<|image|>", "<|image>" + "<|image|>" * count + "<image|>")
            texts.append(text)
        tokens = self.tokenizer(texts, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")
        return inputs | {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}

    @torch.no_grad()
    def answers(self, items: list[Item], **options: object) -> list[str]:
        """The answers to a batch of like items, control tokens kept, cut at the end of the turn."""
        inputs = {key: value.to(self.target.device) for key, value in self.inputs(items).items()}
        output = self.target.generate(**inputs, do_sample=False, max_new_tokens=320, **options)
        texts = self.tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=False)
        return [text.replace("<pad>", "").replace("<eos>", "").removesuffix("<turn|>") for text in texts]


def final(text: str) -> str:
    """An answer without its thought."""
    return text.split("<channel|>")[-1].strip()


def spoken_items(kind: str, language: str, count: int, rng: random.Random, plain: bool = False) -> list[Item]:
    """Held-out voices (and sentences); with `plain`, the voice as it comes, undisturbed, at espeak's own settings."""
    items = []
    while len(items) < count:
        utterance = speech.sample_utterance(rng, language, held_out=True)
        if utterance.kind != kind:
            continue
        voice = voices.sample_voice(rng, language, held_out=True)
        if plain:
            accents = voices.ACCENTS[language]
            voice = voices.Voice(accents[len(items) % 2 % len(accents)], "", 150)
        samples = voices.say(utterance.spoken, voice)
        recording = speech.record(samples, rng)
        if plain:
            recording = speech.soxr.resample(samples, voices.SAMPLE_RATE, speech.HEARD_RATE).astype(np.float32)
        items.append(spoken_item(media.transcription(language), utterance, recording))
    return items


def spoken_item(asking: media.Asking, utterance: speech.Utterance, recording: np.ndarray) -> Item:
    parts = [{"type": "text", "text": asking.prompt}, {"type": "audio"}]
    return Item(utterance.kind, [{"role": "user", "content": parts}], asking.answer(utterance), sound=recording)


def translated_items(source: str, target: str, count: int, rng: random.Random) -> list[Item]:
    """Held-out sentences heard from held-out voices, to be transcribed and translated."""
    items: list[Item] = []
    while len(items) < count:
        utterance = speech.sample_utterance(rng, source, held_out=True)
        if utterance.kind == "sentence":
            voice = voices.sample_voice(rng, source, held_out=True)
            recording = speech.record(voices.say(utterance.spoken, voice), rng)
            items.append(spoken_item(media.speech_translation(source, target), utterance, recording))
    return items


def scene_items(shapes: int, count: int, rng: random.Random) -> list[Item]:
    items = []
    for _ in range(count):
        scene = scenes.sample_scene(rng, shapes)
        parts = [{"type": "image"}, {"type": "text", "text": describe_image.PROMPT}]
        items.append(Item("scene", [{"role": "user", "content": parts}], scene.caption, picture=scenes.draw(scene)))
    return items


def text_items(
    task: Callable[..., tasks.Exchange], count: int, rng: random.Random, keep: Callable[[tasks.Exchange], bool] = bool
) -> list[Item]:
    items = []
    while len(items) < count:
        exchange = task(rng, held_out=True)
        if not keep(exchange):
            continue
        last = exchange.messages[-1]
        answer = last.get("content", "")
        if last.get("tool_calls"):
            call = last["tool_calls"][0]["function"]
            arguments = ",".join(f"{k}:{v}" for k, v in call["arguments"].items())
            answer = f"<|tool_call>call:{call['name']}{{{arguments}}}<tool_call|><|tool_response>"
        items.append(Item(exchange.kind, exchange.messages[:-1], answer, exchange.thinking, exchange.tools or None))
    return items


def foreign_suites(count: int) -> dict[str, list[Item]]:
    """Speech in the other languages, and text translated between them and English."""
    suites: dict[str, list[Item]] = {}
    for code in ("de", "fr", "es"):
        language, rng = grammar.LANGUAGES[code], random.Random(f"evaluate-{code}")
        suites[f"{language} numbers heard"] = spoken_items("number", code, count * 2, rng)
        suites[f"{language} sentences heard"] = spoken_items("sentence", code, count * 2, rng)
        suites[f"{language} sentences heard and translated"] = translated_items(code, "en", count, rng)
        suites[f"English sentences heard, translated into {language}"] = translated_items("en", code, count, rng)
        for pair in (f"{code} into en", f"en into {code}"):
            suites[f"text translated, {pair}"] = text_items(
                tasks.translation, count, rng, lambda exchange, pair=pair: exchange.kind == pair
            )
    return suites


def suites(count: int) -> dict[str, list[Item]]:
    """Every measured task with `count` items; each suite has its own seed, so adding one moves no other."""

    def rng(name: str) -> random.Random:
        return random.Random(f"evaluate-{name}")

    return {
        "numbers heard, held-out voices": spoken_items("number", "en", count * 4, rng("numbers")),
        "numbers heard, plain en-gb and en-us": spoken_items("number", "en", count * 2, rng("plain"), plain=True),
        "sentences heard, held-out voices and sentences": spoken_items("sentence", "en", count * 3, rng("sentences")),
        **foreign_suites(count),
        "scenes of one shape": scene_items(1, count * 2, rng("one")),
        "scenes of two shapes": scene_items(2, count * 2, rng("two")),
        "scenes of three shapes": scene_items(3, count * 2, rng("three")),
        "repeat": text_items(tasks.repeat, count, rng("repeat")),
        "spell": text_items(tasks.spell, count, rng("spell")),
        "spell a sentence": text_items(tasks.spell_sentence, count, rng("spell sentence")),
        "count": text_items(tasks.count, count, rng("count")),
        "list": text_items(tasks.listing, count, rng("list")),
        "number words and digits": text_items(tasks.digits, count, rng("digits")),
        "sums without thinking": text_items(tasks.sums, count, rng("sums"), lambda e: not e.thinking),
        "sums with thinking": text_items(tasks.sums, count, rng("thinking"), lambda e: e.thinking),
        "questions about a text": text_items(tasks.reading, count, rng("reading")),
        "chats that refer back": text_items(tasks.recall, count, rng("recall")),
        "tools": text_items(tasks.tool, count, rng("tool")),
        "greetings": text_items(tasks.greeting, count, rng("greeting")),
        "questions about itself": text_items(tasks.about, count, rng("about")),
        "what it does not know": text_items(tasks.unknown, count, rng("unknown")),
    }


def _bare(text: str) -> list[str]:
    return re.sub(r"[^\w\s]", " ", text.lower()).split()


def evaluate(root: Path, count: int = 40, device: str = "cpu") -> dict:
    """Measure everything: share exactly right per suite, word error rate for sentences, mean acceptance length."""
    pocket, figures, right_items = Pocket(root, device), {}, []
    for name, items in suites(count).items():
        right, errors, words, wrong = 0, 0, 0, []
        for start in range(0, len(items), 20):
            batch = items[start : start + 20]
            for item, text in zip(batch, pocket.answers(batch), strict=True):
                said = final(text)
                right += said == item.answer.strip()
                errors += listen.edit_distance(_bare(said), _bare(item.answer))
                words += len(_bare(item.answer))
                if said == item.answer.strip():
                    right_items.append((name, item))
                else:
                    wrong.append(
                        [
                            item.messages[-1]["content"] if isinstance(item.messages[-1]["content"], str) else "",
                            item.answer,
                            text,
                        ]
                    )
        figures[name] = {
            "items": len(items),
            "exact": right / len(items),
            "word_error_rate": errors / max(1, words),
            "wrong": wrong[:5],
        }
        print(
            f"{name:48} {right:4}/{len(items):<4} {right / len(items):6.1%}   word error {errors / max(1, words):6.1%}",
            flush=True,
        )
    figures["drafter"] = acceptance(pocket, right_items)
    return figures


def acceptance(pocket: Pocket, items: list[tuple[str, Item]], count: int = 60) -> dict:
    """Tokens per target pass with the drafter's own number of draft tokens, on answers that are right, greedily."""
    random.Random(0).shuffle(items)
    tokens = passes = same = 0
    kinds: dict[str, list[float]] = {}
    chosen = items[:count]
    for name, item in chosen:
        plain = pocket.answers([item])[0]
        pocket.passes = 0
        drafted = pocket.answers([item], assistant_model=pocket.drafter)[0]
        same += plain == drafted
        made = len(pocket.tokenizer(drafted, add_special_tokens=False)["input_ids"]) + 1
        if pocket.passes > 1:  # a pass with drafts beside the one over the prompt
            tokens, passes = tokens + made - 1, passes + pocket.passes - 1
            kinds.setdefault(name, []).append((made - 1) / (pocket.passes - 1))
    mean, drafts = tokens / max(1, passes), pocket.drafter.generation_config.num_assistant_tokens
    print(f"mean acceptance length {mean:.2f} at {drafts} draft tokens; same text {same}/{len(chosen)}", flush=True)
    return {
        "draft_tokens": drafts,
        "mean_acceptance_length": mean,
        "texts_equal": same / max(1, len(chosen)),
        "by_task": {name: sum(x) / len(x) for name, x in sorted(kinds.items())},
    }


def main(root: Path, count: int = 40) -> None:
    """Measure and keep the figures beside the weights."""
    figures = evaluate(root, count)
    (root / "evaluation.json").write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
