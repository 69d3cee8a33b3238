"""What the exported checkpoint can do, on items never trained on, with stock transformers `generate`, greedily.

python -m training evaluate            # the table, and gemma_cli/pocket/evaluation.json
"""

import json
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

from gemma_cli.benchmark.quality.scores import score
from training.data.held_out import Item, suites


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


def measured(pocket: Pocket, items: list[Item], name: str) -> tuple[dict[str, Any], list[Item]]:
    """The row of a suite, counted as `gemma bench --task transcribe` counts, and the items that were answered right."""
    batches = (items[start : start + 20] for start in range(0, len(items), 20))
    texts = [text for batch in batches for text in pocket.answers(batch)]
    said = [final(text) for text in texts]
    scores = score("transcribe", [item.answer for item in items], said)
    right = [answer == item.answer.strip() for answer, item in zip(said, items, strict=True)]
    wrong = [
        [_question(item), item.answer, text] for item, text, same in zip(items, texts, right, strict=True) if not same
    ]
    print(
        f"{name:48} {sum(right):4}/{len(items):<4} {scores.exact:6.1%}   word error {scores.word_error_rate:6.1%}",
        flush=True,
    )
    row = {"items": len(items), "exact": scores.exact, "word_error_rate": scores.word_error_rate, "wrong": wrong[:5]}
    return row, [item for item, same in zip(items, right, strict=True) if same]


def _question(item: Item) -> str:
    content = item.messages[-1]["content"]
    return content if isinstance(content, str) else ""


def evaluate(root: Path, count: int = 40, device: str = "cpu") -> dict[str, Any]:
    """Measure everything: share exactly right per suite, word error rate for sentences, mean acceptance length."""
    pocket, figures, right_items = Pocket(root, device), {}, []
    for name, items in suites(count).items():
        figures[name], right = measured(pocket, items, name)
        right_items += [(name, item) for item in right]
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
