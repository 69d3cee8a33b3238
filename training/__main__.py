"""python -m training: the pocket checkpoint from nothing. Every stage resumes where it was interrupted.

python -m training                 # everything, in order
python -m training listen look     # some stages
python -m training --scale 0.1     # a tenth of the minutes: does it all run?
python -m training --published corpus passages draft export    # from the checkpoint in gemma_cli/pocket
python -m training evaluate        # measure what lies in gemma_cli/pocket
"""

import argparse
import ctypes
from pathlib import Path

import torch

from training.stages.optim import has_bfloat16

HERE = Path(__file__).parent
SHARDS = {"en": 16, "de": 12, "fr": 10, "es": 10}
PER_SHARD, HELD_OUT, PASSAGES = 2_000, 800, 800
MINUTES = {"listen": 75, "look": 25, "read": 70, "join": 40, "polish": 70, "passages": 26, "draft": 25}
"""On two cores of a busy machine, much as the published checkpoint had (docs/pocket.md); a GPU needs far less."""


def corpus(runs: Path, shards: dict[str, int]) -> None:
    """Synthesize the speech: with SHARDS 96,000 utterances and 3,200 passages, 52 hours in four languages."""
    from training.data import passages
    from training.data.speech import build_shard

    folder = runs / "speech"
    folder.mkdir(parents=True, exist_ok=True)
    for language, count in shards.items():
        wanted = [(f"{language}-{seed:03}.npz", seed, PER_SHARD, False) for seed in range(count)]
        for name, seed, size, held_out in [*wanted, (f"{language}-held-out-000.npz", 0, HELD_OUT, True)]:
            if not (folder / name).exists():
                build_shard(folder / name, seed, size, language, held_out)
        if not (recorded := folder / f"{language}-passages-000.npz").exists():
            passages.build_shard(recorded, 0, PASSAGES, language)


def run(stage: str, runs: Path, out: Path, scale: float, shards: dict[str, int]) -> None:
    """One stage by name."""
    from training import evaluate, export, held_out, published, samples, tokenizer
    from training.stages import audio_tower, decoder, drafter, vision_tower

    minutes = MINUTES.get(stage, 0) * scale
    if stage == "corpus":
        corpus(runs, shards)
    elif stage == "words":
        if not (runs / "tokenizer").exists():
            tokenizer.build(runs / "tokenizer")
    elif stage == "listen":
        audio_tower.train(runs, minutes)
    elif stage == "look":
        vision_tower.train(runs, minutes)
    elif stage == "read":
        decoder.train(runs, decoder.READ, minutes, lr=2e-3)
    elif stage == "join":
        decoder.train(runs, decoder.JOIN, minutes, lr=1.5e-3, start=runs / "read.pt")
    elif stage == "polish":
        decoder.train(runs, decoder.POLISH, minutes, lr=1e-3, start=runs / "join.pt")
    elif stage == "passages":
        decoder.train(runs, decoder.PASSAGES, minutes, lr=7e-4, start=runs / "polish.pt")
    elif stage == "draft":
        drafter.train(runs, minutes, start=runs / published.DRAFTER)
    elif stage == "export":
        export.export(runs, out)
    elif stage == "evaluate":
        evaluate.main(out)
    elif stage == "samples":
        samples.build(HERE.parent / "gemma_cli" / "samples")
    elif stage == "held_out":
        held_out.build(HERE.parent / "gemma_cli" / "benchmark" / "held_out.jsonl")


STAGES = (
    "corpus",
    "words",
    "listen",
    "look",
    "read",
    "join",
    "polish",
    "passages",
    "draft",
    "export",
    "evaluate",
    "samples",
    "held_out",
)


def keep_memory() -> None:
    """Ask glibc to keep freed blocks: returning and faulting them again costs a third of a CPU training step."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 2**31 - 1)  # M_MMAP_THRESHOLD
    except OSError:
        pass  # not glibc: only slower


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description="Make the pocket checkpoint from nothing.")
    parser.add_argument("stages", nargs="*", metavar="stage", help=f"some of: {' '.join(STAGES)} (default: all)")
    parser.add_argument(
        "--runs", type=Path, default=HERE / "runs", help="checkpoints and data (default: training/runs)"
    )
    parser.add_argument("--out", type=Path, default=HERE.parent / "gemma_cli" / "pocket", help="where to export")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply every stage's minutes")
    parser.add_argument(
        "--published",
        action="store_true",
        help="begin with the checkpoint in --out, and with a shard of utterances of each language",
    )
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's own choice)")
    options = parser.parse_args()
    if unknown := set(options.stages) - set(STAGES):
        parser.error(f"no stage {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_memory()
    has_bfloat16()
    options.runs.mkdir(parents=True, exist_ok=True)
    shards = SHARDS
    if options.published:
        from training.published import adopt

        adopt(options.out, options.runs)
        shards = dict.fromkeys(SHARDS, 1)
    for stage in STAGES:
        if not options.stages or stage in options.stages:
            run(stage, options.runs, options.out, options.scale, shards)


if __name__ == "__main__":
    main()
