"""What the coupled rule costs: how often a draft is accepted, by rule.

    python -m tests.engines.helpers.acceptance

Target logits over 512 tokens, sharp and flat in equal parts; the drafter's are the same plus normal noise. Both go
through Gemma 4's sampling (temperature 1, top-k 64, top-p 0.95). `coupled` is counted with our own sampler; the
others are computed from the two distributions: the best any rule can do is the mass they share (Leviathan et al.'s rule
reaches it with drafts sampled afresh), and a draft by arg-max is accepted as often as the target says that token.
"""

from __future__ import annotations

import torch

from gemma_cli.core.messages import Sampling
from gemma_cli.engines.local.decoding.sampling import Sampler, _top_k, _top_p

ROWS, VOCAB = 20_000, 512
NOISE = {"close": 0.3, "middling": 0.7, "far": 1.3}


def distribution(logits: torch.Tensor) -> torch.Tensor:
    """Probabilities [rows, VOCAB] after top-k and top-p."""
    kept, ids = _top_k(logits, None, Sampling().top_k)
    shares = torch.softmax(_top_p(kept.double(), Sampling().top_p), -1)
    return torch.zeros(logits.shape, dtype=torch.float64).scatter(-1, ids, shares)


def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    sharpness = torch.linspace(2, 9, ROWS)[:, None]
    target = torch.randn(ROWS, VOCAB, generator=generator) * sharpness
    positions = torch.arange(ROWS)
    print("drafter    arg-max   coupled   best possible")
    for name, noise in NOISE.items():
        drafter = target + noise * sharpness.sqrt() * torch.randn(ROWS, VOCAB, generator=generator)
        p, q = distribution(target), distribution(drafter)
        sampler = Sampler(Sampling())
        agree = sampler.choose(target, positions) == sampler.choose(drafter, positions)
        arg_max = p.gather(-1, q.argmax(-1, keepdim=True)).mean()
        best = torch.minimum(p, q).sum(-1).mean()
        print(f"{name:9}    {arg_max:.3f}     {agree.double().mean():.3f}     {best:.3f}")


if __name__ == "__main__":
    main()
