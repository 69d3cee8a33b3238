"""Stage A: the audio tower learns to hear, alone.

Two connectionist heads (CTC) teach it: phonemes after the second layer, words after the last. The decoder that comes
later finds words already separated in the tower's output and has only to read them.
"""

import random
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from transformers import Gemma4AudioModel

from training import shapes
from training.data import grammar, numbers, speech, voices
from training.stages.optim import DEVICE, Clock, Optimizer, half_precision, save


def word_units() -> dict[str, int]:
    """Every word of the grammar, its numbers and commands, numbered from 1 (0 is CTC's blank).

    A word of two languages is two units, `es seis` and `de sechs`: the tower tells the languages apart by itself.
    """
    rng = random.Random(0)
    heard = [speech.Utterance("command", "en", command, command) for command in speech.COMMANDS]
    for language, say in numbers.SAY.items():
        heard += [speech.Utterance("number", language, say(number), str(number)) for number in range(1000)]
    for _ in range(20_000):
        for language, spoken in grammar.sample_sentence(rng).spoken.items():
            heard.append(speech.Utterance("sentence", language, spoken, spoken))
    vocabulary = {unit for utterance in heard for unit in units_of(utterance)}
    return {word: index for index, word in enumerate(sorted(vocabulary), 1)}


def units_of(utterance: speech.Utterance) -> list[str]:
    """The word units of an utterance, in order."""
    return [f"{utterance.language} {word}" for word in utterance.words]


def phoneme_units(recorded: list[speech.Recorded]) -> dict[str, int]:
    """Every phoneme letter that occurs, numbered from 1."""
    return {letter: index for index, letter in enumerate(sorted({p for r in recorded for p in r.phonemes}), 1)}


class Listener(nn.Module):
    """The audio tower with its two CTC heads."""

    def __init__(self, tower: Gemma4AudioModel, phonemes: int, words: int):
        super().__init__()
        self.tower: Gemma4AudioModel = tower
        width = tower.config.hidden_size
        self.phoneme_head = nn.Linear(width, phonemes + 1)
        self.word_norm = nn.RMSNorm(tower.config.output_proj_dims, elementwise_affine=False)
        self.word_head = nn.Linear(tower.config.output_proj_dims, words + 1)
        self.middle: list[torch.Tensor] = []
        tower.layers[1].register_forward_hook(lambda _module, _inputs, output: self.middle.append(output))

    def forward(
        self, features: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features (batch, frames, mel) -> tower output, lengths, log-probabilities of phonemes and words by time."""
        self.middle.clear()
        output = self.tower(features, mask)
        hidden, lengths = output.last_hidden_state, output.attention_mask.sum(1)
        phonemes = self.phoneme_head(self.middle.pop()).float().log_softmax(-1).transpose(0, 1)
        words = self.word_head(self.word_norm(hidden)).float().log_softmax(-1).transpose(0, 1)
        return hidden, lengths, phonemes, words


def collate(batch: list[speech.Recorded], rng: random.Random | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad features to one length (a multiple of 32 frames); with rng, blank a random band and moment of each."""
    longest = max(len(r.features) for r in batch)
    longest = -(-longest // 32) * 32
    features = torch.zeros(len(batch), longest, speech.MEL_BINS)
    mask = torch.zeros(len(batch), longest, dtype=torch.bool)
    for row, recorded in enumerate(batch):
        frames = len(recorded.features)
        features[row, :frames] = torch.from_numpy(recorded.features)
        mask[row, :frames] = True
        if rng is not None:
            for _ in range(2):
                low, width = rng.randrange(speech.MEL_BINS), rng.randrange(8)
                features[row, :frames, low : low + width] = -1.0
            start, width = rng.randrange(frames), rng.randrange(8)
            features[row, start : start + width] = -1.0
    return features.to(DEVICE), mask.to(DEVICE)


def unheard(features: torch.Tensor, mask: torch.Tensor, frames: int) -> torch.Tensor:
    """For each of the tower's frames (batch, frames), whether less than 0.16 s of speech came before: no word is known.

    Without this CTC finds a false floor early: it names the likeliest first word ("the") at the first frame, unheard,
    and never learns to wait for the real one.
    """
    loudness = features.mean(-1).masked_fill(~mask, -9.0)
    quiet, loud = loudness.masked_fill(~mask, 9.0).amin(1, keepdim=True), loudness.amax(1, keepdim=True)
    onset = (loudness > quiet + 0.6 * (loud - quiet)).float().argmax(1)
    return torch.arange(frames, device=features.device)[None] < (onset // 4 + 4)[:, None]


def ctc_targets(batch: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Label lists as CTC wants them: end to end, and their lengths."""
    flat = torch.tensor([unit for units in batch for unit in units], device=DEVICE)
    return flat, torch.tensor([len(units) for units in batch], device=DEVICE)


HELD_OUT = 160
"""Recordings of each language that the log's word error is measured on."""

CONFUSED = frozenset(numbers.EN_SMALL[13:] + numbers.EN_TENS[2:])
"""fifteen or fifty? Utterances with these words come twice as often."""


def length_batches(recorded: list[speech.Recorded], size: int, rng: random.Random) -> list[list[speech.Recorded]]:
    """Shuffle, sort a stretch of forty batches by length, cut and shuffle the batches: little padding is computed."""
    order = recorded + [r for r in recorded if r.utterance.kind == "number" and CONFUSED & set(r.utterance.words)]
    rng.shuffle(order)
    batches = []
    for start in range(0, len(order), size * 40):
        stretch = sorted(order[start : start + size * 40], key=lambda r: len(r.features))
        batches += [stretch[i : i + size] for i in range(0, len(stretch), size)]
    rng.shuffle(batches)
    return batches


def edit_distance(a: Sequence[object], b: Sequence[object]) -> int:
    """Levenshtein's distance between two sequences."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


def greedy(log_probabilities: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
    """CTC's best path: collapse repeats, drop blanks."""
    best = log_probabilities.argmax(-1).T.tolist()
    paths = [row[:length] for row, length in zip(best, lengths.tolist(), strict=True)]
    return [[u for u, before in zip(p, [0, *p], strict=False) if u and u != before] for p in paths]


@torch.no_grad()
def word_error(listener: Listener, recorded: list[speech.Recorded], units: dict[str, int]) -> tuple[float, float]:
    """Word error rate of the word head, and the share of numbers heard without error."""
    listener.eval()
    wrong = total = right = spoken_numbers = 0
    for start in range(0, len(recorded), 64):
        batch = recorded[start : start + 64]
        _, lengths, _, words = listener(*collate(batch))
        for heard, item in zip(greedy(words, lengths), batch, strict=True):
            truth = [units.get(word, -1) for word in units_of(item.utterance)]
            errors = edit_distance(heard, truth)
            wrong, total = wrong + errors, total + len(truth)
            if item.utterance.kind == "number":
                spoken_numbers, right = spoken_numbers + 1, right + (errors == 0)
    listener.train()
    return wrong / total, right / max(1, spoken_numbers)


def train(runs: Path, minutes: float, batch_size: int = 48, lr: float = 1.5e-3) -> None:
    """Run stage A for so many minutes in all, from its last checkpoint if there is one."""
    recorded = speech.load_shards(sorted((runs / "speech").glob("??-[0-9]*.npz")))
    held_out = {
        language: speech.load_shards([runs / "speech" / f"{language}-held-out-000.npz"])[:HELD_OUT]
        for language in voices.ACCENTS
    }
    phonemes, words = phoneme_units(recorded), word_units()
    listener = Listener(shapes.new_audio_tower(), len(phonemes), len(words)).to(DEVICE)
    optimizer, clock = Optimizer(listener, lr), Clock(minutes)
    checkpoint = runs / "listen.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=DEVICE)
        phonemes, words = state["phonemes"], state["words"]
        listener.load_state_dict(state["listener"])
        optimizer.load_state_dict(state["optimizer"])
        clock = Clock(minutes, state["spent"])
    rng = random.Random(optimizer.steps)
    losses: list[complex] = []  # of phonemes, and of words as the imaginary part
    saved = clock.spent
    while clock.progress < 1:
        for batch in length_batches(recorded, batch_size, rng):
            features, mask = collate(batch, rng)
            with half_precision():
                _, lengths, phoneme_logs, word_logs = listener(features, mask)
            heard = ctc_targets([[phonemes[p] for p in r.phonemes] for r in batch])
            said = ctc_targets([[words[w] for w in units_of(r.utterance)] for r in batch])
            phoneme_loss = F.ctc_loss(phoneme_logs, heard[0], lengths, heard[1], zero_infinity=True)
            word_loss = F.ctc_loss(word_logs, said[0], lengths, said[1], zero_infinity=True)
            early = -word_logs[..., 0].T[unheard(features, mask, len(word_logs))].mean()
            (phoneme_loss + word_loss + 0.5 * early).backward()
            optimizer.step(clock.progress)
            losses.append(phoneme_loss.item() + 1j * word_loss.item())
            if optimizer.steps % 50 == 0:
                mean = sum(losses) / len(losses)
                losses.clear()
                report(f"listen {clock.at(optimizer)} phonemes {mean.real:.3f} words {mean.imag:.3f}")
            if clock.spent - saved > 180 or clock.progress >= 1:
                saved = clock.spent
                for language, unseen in held_out.items():
                    error, right = word_error(listener, unseen, words)
                    report(f"listen {clock.at(optimizer)} {language}: word error {error:.3f} numbers {right:.3f}")
                save(checkpoint, {
                    "listener": listener.state_dict(), "optimizer": optimizer.state_dict(), "spent": clock.spent,
                    "phonemes": phonemes, "words": words,
                })  # fmt: skip
            if clock.progress >= 1:
                break


def report(line: str) -> None:
    """One line of the training log, at once."""
    print(line, flush=True)
    sys.stdout.flush()
