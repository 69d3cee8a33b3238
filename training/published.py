"""Later stages from the published checkpoint: its weights, where the earlier stages would have left theirs."""

import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, Gemma4ForConditionalGeneration

from training.stages.optim import save

DRAFTER = "published-draft.pt"
"""File of the published drafter in a run's folder."""


def adopt(root: Path, runs: Path) -> None:
    """Put tokenizer, target and drafter of `root` (gemma_cli/pocket) into a run's folder, unless they are there.

    The target is what `polish` would have left; the drafter is a start for `draft`.
    """
    if not (runs / "tokenizer").exists():
        (runs / "tokenizer").mkdir()
        for path in [*(root / "pocket").glob("tokenizer*"), root / "pocket" / "chat_template.jinja"]:
            shutil.copy(path, runs / "tokenizer")
    if not (runs / "polish.pt").exists():
        target = Gemma4ForConditionalGeneration.from_pretrained(root / "pocket", dtype=torch.float32)
        save(runs / "polish.pt", {"model": target.state_dict()})
    if not (runs / DRAFTER).exists():
        drafter = AutoModelForCausalLM.from_pretrained(root / "pocket-assistant", dtype=torch.float32)
        save(runs / DRAFTER, {"model": drafter.state_dict()})
