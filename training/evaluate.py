"""What the exported checkpoint can do, on items never trained on, with stock transformers `generate`, greedily.

python -m training evaluate            # the table, and gemma_cli/pocket/evaluation.json
"""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma4ForConditionalGeneration,
)

from training.data.held_out import Item, suites
from training.stages import audio_tower


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
        texts: list[str] = []
        inputs: dict[str, torch.Tensor] = {}
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


def _bare(text: str) -> list[str]:
    return re.sub(r"[^\w\s]", " ", text.lower()).split()


def evaluate(root: Path, count: int = 40, device: str = "cpu") -> dict[str, Any]:
    """Measure everything: share exactly right per suite, word error rate for sentences, mean acceptance length."""
    pocket, figures, right_items = Pocket(root, device), {}, []
    for name, items in suites(count).items():
        right, errors, words, wrong = 0, 0, 0, []
        for start in range(0, len(items), 20):
            batch = items[start : start + 20]
            for item, text in zip(batch, pocket.answers(batch), strict=True):
                said = final(text)
                right += said == item.answer.strip()
                errors += audio_tower.edit_distance(_bare(said), _bare(item.answer))
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


def acceptance(pocket: Pocket, items: list[tuple[str, Item]], each: int = 3) -> dict[str, Any]:
    """Tokens per target pass with the drafter's own number of draft tokens, greedily.

    items: a task and a question of it that the target answers right; so many of each task are asked."""
    tokens = passes = same = 0
    kinds: dict[str, list[float]] = {}
    tasks = defaultdict(list)
    for name, item in items:
        tasks[name].append(item)
    chosen = [(name, item) for name, of_task in tasks.items() for item in of_task[:each]]
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
