"""Passages: several sentences in a recording, from voices and sentences of the training set."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from training import published, tokenizer
from training.data import grammar, passages, speech, timed_speech, voices
from training.stages import decoder, media_features
from training.stages.packing import Encoder

POCKET = Path(__file__).parents[2] / "gemma_cli" / "pocket"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[speech.Recorded]:
    path = tmp_path_factory.mktemp("speech") / "de-passages-000.npz"
    passages.build_shard(path, 0, 12, "de")
    return speech.load_shards([path])


def test_a_passage_is_as_long_as_its_sentences(recorded: list[speech.Recorded]) -> None:
    counts = [len([mark for mark in one.utterance.written if mark in ".?!"]) for one in recorded]
    assert set(counts) <= set(passages.SENTENCES)
    assert max(counts) > 2
    seconds = np.array([len(one.features) / 100 for one in recorded])
    assert (seconds > 0.5 * np.array(counts)).all()
    for one, count in zip(recorded, counts, strict=True):
        assert bool(one.utterance.translations) == (count <= passages.TRANSLATED)


def test_sentences_of_a_passage_are_those_of_training() -> None:
    rng = random.Random(2)
    for held_out in (False, True):
        said = timed_speech.speak(rng, "fr", 3, lively=True, held_out=held_out, longest_pause=0.5)
        assert len(said.sentences) == 3
        written = " ".join(sentence.written["fr"] for sentence in said.sentences)
        assert [word for word, _, _ in said.words] == written.split()
        if held_out:
            assert all(sentence.held_out for sentence in said.sentences)
        else:
            assert not any(sentence.held_out for sentence in said.sentences)


def test_plain_speech_and_timed_speech_take_turns() -> None:
    """Both use the one espeak-ng of a process, each with a callback of its own."""
    voice = voices.Voice("gmw/en", "f4")
    timed, words = timed_speech.say("The cat is here.", voice)
    plain = voices.say("The cat is here.", voice)
    assert abs(len(plain) - len(timed)) < 100
    assert len(words) == 4


def test_two_recordings_of_a_language_join_to_one_passage(recorded: list[speech.Recorded]) -> None:
    rng = random.Random(3)
    pool = [(one.utterance, torch.full((len(one.features) // 4, 2), number)) for number, one in enumerate(recorded)]
    lengths = {one.written: len(tokens) for one, tokens in pool}
    joined = 0
    for _ in range(40):
        utterance, tokens = media_features.some_passage(pool, rng)
        if utterance.written in lengths:
            assert len(tokens) == lengths[utterance.written]
            continue
        joined += 1
        first = next(one for one in lengths if utterance.written.startswith(f"{one} "))
        assert len(tokens) == lengths[first] + lengths[utterance.written.removeprefix(f"{first} ")]
    assert 5 < joined < 35


def test_a_batch_of_passages_asks_for_one_answer_each() -> None:
    encoder, rng = Encoder(tokenizer.load(POCKET / "pocket")), random.Random(4)
    diet = decoder.Diet(encoder, 1)
    for language in grammar.LANGUAGES:
        for count in passages.SENTENCES:
            sentences = tuple(grammar.sample_sentence(rng) for _ in range(count))
            diet.recorded.append((passages.passage(language, sentences), torch.zeros(50 * count, 192)))
    batch = diet.passage_rows()
    assert batch.ids.shape == (decoder.CHATS, decoder.CHAT)
    assert len(batch.answers) >= decoder.CHATS
    texts = [encoder.tokenizer.decode(batch.targets[first:last]) for _, first, last in batch.answers]
    assert all(text.endswith("<turn|>") for text in texts)
    languages = set(grammar.LANGUAGES)
    assert {kind.split()[0] for kind, _, _ in batch.answers} <= languages | {"speech"}


def test_the_published_weights_go_on_as_the_last_stage_left_them(tmp_path: Path) -> None:
    published.adopt(POCKET, tmp_path)
    encoder = Encoder(tokenizer.load(tmp_path / "tokenizer"))
    assert decoder.best_stage(tmp_path) == tmp_path / "polish.pt"
    model = decoder.new_model(tmp_path, encoder)
    model.load_state_dict(torch.load(tmp_path / "polish.pt", weights_only=True)["model"])
    assert encoder.tokenizer.decode(encoder.tokens("Hello.")) == "Hello."
