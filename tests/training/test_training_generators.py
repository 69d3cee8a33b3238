"""The generators: the same seed gives the same data, held-out items never reach training, labels say what is shown."""

import random

import numpy as np
import pytest

from training.data import drills, grammar, numbers, scenes, speech, task_mix, voices


@pytest.mark.parametrize(
    ("language", "number", "said"),
    [
        ("en", 0, "zero"),
        ("en", 347, "three hundred and forty seven"),
        ("en", 900, "nine hundred"),
        ("de", 347, "dreihundertsiebenundvierzig"),
        ("de", 121, "einhunderteinundzwanzig"),
        ("fr", 71, "soixante et onze"),
        ("fr", 380, "trois cent quatre-vingts"),
        ("fr", 91, "quatre-vingt-onze"),
        ("es", 100, "cien"),
        ("es", 547, "quinientos cuarenta y siete"),
    ],
)
def test_numbers_are_said_as_people_say_them(language: str, number: int, said: str) -> None:
    assert numbers.SAY[language](number) == said


@pytest.mark.parametrize("language", sorted(numbers.SAY))
def test_every_number_has_its_own_words(language: str) -> None:
    assert len({numbers.SAY[language](n) for n in range(1000)}) == 1000


def test_a_seed_decides_everything() -> None:
    def draws() -> list[object]:
        rng = random.Random(11)
        drawn: list[object] = [task_mix.sample_exchange(rng) for _ in range(50)]
        drawn += [scenes.sample_scene(rng) for _ in range(20)]
        return drawn + [speech.sample_utterance(rng) for _ in range(20)]

    assert draws() == draws()


def test_training_and_held_out_sentences_are_disjoint() -> None:
    rng = random.Random(3)
    trained = {grammar.sample_sentence(rng).written["en"] for _ in range(4_000)}
    held_out = {grammar.sample_sentence(rng, held_out=True).written["en"] for _ in range(400)}
    assert len(held_out) > 100
    assert not trained & held_out


@pytest.mark.parametrize(
    "task", [task_mix.repeat, task_mix.spell, task_mix.count, task_mix.sums, task_mix.digits, task_mix.unknown]
)
def test_training_and_held_out_questions_are_disjoint(task) -> None:
    rng = random.Random(4)
    trained = {str(task(rng).messages) for _ in range(800)}
    held_out = {str(task(rng, held_out=True).messages) for _ in range(100)}
    assert not trained & held_out


def test_held_out_voices_are_not_trained_on() -> None:
    assert not set(voices.TRAINING_VARIANTS) & set(voices.HELD_OUT_VARIANTS)
    rng = random.Random(5)
    assert {voices.sample_voice(rng, "en", held_out=True).variant for _ in range(200)} == set(voices.HELD_OUT_VARIANTS)


def test_german_articles_agree_with_their_noun() -> None:
    rng = random.Random(0)
    wrong = ("die hund", "das hund", "den katze", "der katze", "dem hund", "einen katze", "eine buch", "der buch")
    texts = [f" {grammar.sample_sentence(rng).written['de'].lower()}" for _ in range(3_000)]
    assert any(" den hund" in text for text in texts)
    assert any(" der hund" in text for text in texts)
    assert not [text for text in texts for part in wrong if f" {part}" in text]


@pytest.mark.parametrize(
    ("language", "wrong", "right"),
    [
        ("fr", ("le oiseau", "la homme", "le enfant", "la chien", "un tasse", "beau oiseau", "vieux homme", "l' "),
         ("l'oiseau", "le vieil oiseau", "la vieille", "la tasse noire", "une pomme", "n'est pas")),
        ("es", (" de el ", "la perro", "el taza", "perro negra", "taza negro", "azuls", "un manzana"),
         (" del árbol", "la taza negra", "gatos azules", "una manzana", "¿dónde está")),
    ],
)  # fmt: skip
def test_french_and_spanish_agree(language: str, wrong: tuple[str, ...], right: tuple[str, ...]) -> None:
    rng = random.Random(0)
    texts = " ".join(grammar.sample_sentence(rng).written[language].lower() for _ in range(6_000))
    assert not [part for part in wrong if part in texts]
    assert not [part for part in right if part not in texts]


def test_counts_are_written_as_digits_and_spoken_as_words() -> None:
    rng = random.Random(6)
    counted = [
        s for s in (grammar.sample_sentence(rng) for _ in range(500)) if any(c.isdigit() for c in s.written["en"])
    ]
    assert counted
    assert not any(c.isdigit() for s in counted for c in "".join(s.spoken.values()))


@pytest.mark.parametrize(("a", "b"), [(17, 25), (99, 99), (0, 7), (40, 60), (8, 95), (999, 1), (512, 489)])
def test_thoughts_add_up(a: int, b: int) -> None:
    assert drills.add_aloud(a, b).endswith(f"So {a + b:04}.")
    high, low = max(a, b), min(a, b)
    assert drills.subtract_aloud(high, low).endswith(f"So {high - low:04}.")
    for thought in (drills.add_aloud(a, b), drills.subtract_aloud(high, low)):
        for step in thought.split(": ")[1].split(". So")[0].split(", "):
            left, right = step.split(" = ")
            assert sum(int(x) for x in left.replace(" - ", " + -").split(" + ")) == int(right)


def test_a_scene_is_drawn_as_its_caption_says() -> None:
    shape = scenes.Shape("circle", "red", 0.5, 0.5, 0.3, 0.0, scenes.COLOURS["red"])
    scene = scenes.Scene((shape,), 256, 256, (255, 255, 255))
    assert scene.caption == "A red circle."
    image = scenes.draw(scene)
    assert image.getpixel((128, 128)) == scenes.COLOURS["red"]
    assert image.getpixel((4, 4)) == (255, 255, 255)
    forms, colours, ranks = scenes.labels(scene, 8, 8)
    assert forms.reshape(8, 8)[4, 4] == scenes.SHAPES.index("circle") + 1
    assert ranks.reshape(8, 8)[4, 4] == 1
    assert colours.reshape(8, 8)[0, 0] == ranks.reshape(8, 8)[0, 0] == 0


def test_patches_are_the_processors_own() -> None:
    processor, rng = scenes.image_processor(), random.Random(8)
    for _ in range(6):
        image = scenes.draw(scenes.sample_scene(rng))
        expected = processor([image], return_tensors="np")
        pixels, places = scenes.patches(image)
        np.testing.assert_allclose(expected["pixel_values"][0], pixels / 255, atol=1e-6)
        np.testing.assert_array_equal(expected["image_position_ids"][0], places)
