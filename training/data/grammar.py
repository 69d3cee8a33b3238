"""The closed grammar: some ten thousand sentences of about 150 words, in four languages side by side.

A sentence is drawn once and written in every language at once, so each is the exact translation of the others. German
needs a noun's gender and cases: nominative article, accusative article, dative place; adjectives are kept in the weak
declension after a definite article, or strong in the plural, where one ending serves. French and Spanish need gender,
and French the few adjectives that stand before their noun.
"""

import hashlib
import random
from dataclasses import dataclass

from training.data.lexicon import (
    ANIMALS,
    COLOURS,
    COUNTS,
    DRINKS,
    FIXED,
    FOOD,
    NAMES,
    PEOPLE,
    PLACES,
    PREPOSITIONS,
    QUALITIES,
    RESTING,
    ROOMS,
    SEEING,
    THINGS,
    TIMES,
    WEATHER,
    Adjective,
    Noun,
)

LANGUAGES = {"en": "English", "de": "German", "fr": "French", "es": "Spanish"}


@dataclass(frozen=True)
class Sentence:
    """One sentence in every language: as written (digits, capitals, full stop) and as spoken (number words)."""

    written: dict[str, str]
    spoken: dict[str, str]

    @property
    def held_out(self) -> bool:
        """One sentence in twelve is kept out of all training; by its English words, so in every language at once.

        The sixteen fixed phrases are too few to keep any back.
        """
        english = self.written["en"]
        if any(english == fixed[0] for fixed in FIXED):
            return False
        return hashlib.sha256(english.encode()).digest()[0] % 12 == 0


def _sentence(en: str, de: str, fr: str, es: str, count: int = 0) -> Sentence:
    """Fill `#` with a count's digit (written) or word (spoken); begin each with a capital."""
    texts = {"en": en, "de": de, "fr": fr, "es": es.replace(" de el ", " del ")}
    first = {k: 1 if t[0] == "¿" else 0 for k, t in texts.items()}
    texts = {k: t[: first[k]] + t[first[k]].upper() + t[first[k] + 1 :] for k, t in texts.items()}
    if not count:
        return Sentence(texts, texts)
    written = {key: text.replace("#", str(count)) for key, text in texts.items()}
    return Sentence(written, {key: text.replace("#", COUNTS[key][count - 2]) for key, text in texts.items()})


def _der(noun: Noun, adjective: Adjective | None = None) -> str:
    return f"{noun.gender} {adjective.de}e {noun.de}" if adjective else f"{noun.gender} {noun.de}"


def _le(noun: Noun, adjective: Adjective | None = None) -> str:
    """French with an adjective: colours follow, the short common ones stand before."""
    if adjective is None:
        return noun.le
    if adjective in COLOURS:
        return f"{noun.le} {adjective.french(noun)}"
    form = adjective.french(noun)
    if noun.le.startswith("l'") and not noun.feminine and adjective.before_vowel:
        form = adjective.before_vowel
    return f"{'la' if noun.feminine else 'le'} {form} {noun.nom}"


def _el(noun: Noun, adjective: Adjective | None = None) -> str:
    return f"{noun.es} {adjective.spanish(noun)}" if adjective else noun.es


def _plural_es(word: str) -> str:
    return word + ("es" if word[-1] == "l" else "s")


def _counting(rng: random.Random) -> Sentence:
    name, noun = rng.choice(NAMES), rng.choice(THINGS + ANIMALS)
    verb, colour = rng.choice(SEEING), rng.choice(COLOURS)
    count = rng.randint(2, 12)
    en, de, fr, es = (f"{name} {v} # " for v in verb)
    if rng.random() < 0.5:
        return _sentence(
            f"{en}{noun.en_plural}.",
            f"{de}{noun.de_plural}.",
            f"{fr}{noun.fr_plural}.",
            f"{es}{noun.es_plural}.",
            count,
        )
    return _sentence(
        f"{en}{colour.en} {noun.en_plural}.",
        f"{de}{colour.de}e {noun.de_plural}.",
        f"{fr}{noun.fr_plural} {colour.french(noun)}s.",
        f"{es}{noun.es_plural} {_plural_es(colour.spanish(noun))}.",
        count,
    )


def _place(rng: random.Random) -> Sentence:
    noun, prep, place = rng.choice(THINGS + ANIMALS), rng.choice(PREPOSITIONS), rng.choice(PLACES)
    adjective = rng.choice(COLOURS + QUALITIES) if rng.random() < 0.5 else None
    described = f"{adjective.en} {noun.en}" if adjective else noun.en
    return _sentence(
        f"the {described} is {prep[0]} {place[0]}.",
        f"{_der(noun, adjective)} ist {prep[1]} {place[1]}.",
        f"{_le(noun, adjective)} est {prep[2]} {place[2]}.",
        f"{_el(noun, adjective)} está {prep[3]} {place[3]}.",
    )


def _resting(rng: random.Random) -> Sentence:
    noun, verb = rng.choice(ANIMALS + PEOPLE), rng.choice(RESTING)
    if rng.random() < 0.5:
        room = rng.choice(ROOMS)
        preposition = "on" if room[0] == "the street" else "in"
        where: tuple[str, ...] = (f"{preposition} {room[0]}", *room[1:])
    else:
        prep, place = rng.choice(PREPOSITIONS), rng.choice(PLACES)
        where = tuple(f"{p} {q}" for p, q in zip(prep, place, strict=True))
    return _sentence(
        f"the {noun.en} {verb[0]} {where[0]}.",
        f"{_der(noun)} {verb[1]} {where[1]}.",
        f"{_le(noun)} {verb[2]} {where[2]}.",
        f"{_el(noun)} {verb[3]} {where[3]}.",
    )


def _seeing(rng: random.Random) -> Sentence:
    verb, noun = rng.choice(SEEING), rng.choice(THINGS + ANIMALS)
    if rng.random() < 0.5:
        name = rng.choice(NAMES)
        return _sentence(
            f"{name} {verb[0]} the {noun.en}.",
            f"{name} {verb[1]} {noun.den} {noun.de}.",
            f"{name} {verb[2]} {noun.le}.",
            f"{name} {verb[3]} {noun.es}.",
        )
    person = rng.choice(PEOPLE)
    article = "an" if noun.en[0] in "aeiou" else "a"
    return _sentence(
        f"the {person.en} {verb[0]} {article} {noun.en}.",
        f"{_der(person)} {verb[1]} {noun.einen} {noun.de}.",
        f"{person.le} {verb[2]} {noun.un}.",
        f"{person.es} {verb[3]} {noun.uno}.",
    )


def _being(rng: random.Random) -> Sentence:
    noun, adjective = rng.choice(THINGS + ANIMALS), rng.choice(COLOURS + QUALITIES)
    negated, negation = rng.random() < 0.3, "n'est pas"
    return _sentence(
        f"the {noun.en} is {'not ' if negated else ''}{adjective.en}.",
        f"{_der(noun)} ist {'nicht ' if negated else ''}{adjective.de}.",
        f"{noun.le} {negation if negated else 'est'} {adjective.french(noun)}.",
        f"{noun.es} {'no es' if negated else 'es'} {adjective.spanish(noun)}.",
    )


def _eating(rng: random.Random) -> Sentence:
    food, time, name = rng.choice(FOOD), rng.choice(TIMES), rng.choice(NAMES)
    if rng.random() < 0.5:
        other = rng.choice([f for f in FOOD if f != food])
        return _sentence(
            f"{name} likes {food[0]} and {other[0]}.",
            f"{name} mag {food[1]} und {other[1]}.",
            f"{name} aime {food[3]} et {other[3]}.",
            f"a {name} le gustan {food[5]} y {other[5]}.",
        )
    en, de, fr, es = ("drinks", "trinkt", "boit", "bebe") if food[0] in DRINKS else ("eats", "isst", "mange", "come")
    return _sentence(
        f"{name} {en} {food[0]} {time[0]}.",
        f"{name} {de} {time[1]} {food[1]}.",
        f"{name} {fr} {food[2]} {time[2]}.",
        f"{name} {es} {food[4]} {time[3]}.",
    )


def _weather(rng: random.Random) -> Sentence:
    weather, time, room = rng.choice(WEATHER), rng.choice(TIMES), rng.choice(ROOMS[:6])
    if rng.random() < 0.4:
        return _sentence(
            f"it is {weather[0]} {time[0]}.",
            f"es ist {time[1]} {weather[1]}.",
            f"{weather[2]} {time[2]}.",
            f"{weather[3]} {time[3]}.",
        )
    return _sentence(
        f"it is {weather[0]} in {room[0]}.",
        f"es ist {weather[1]} {room[1]}.",
        f"{weather[2]} {room[2]}.",
        f"{weather[3]} {room[3]}.",
    )


def _asking(rng: random.Random) -> Sentence:
    noun = rng.choice(THINGS + ANIMALS + PEOPLE)
    adjective = rng.choice(COLOURS + QUALITIES)
    if rng.random() < 0.5:
        return _sentence(
            f"where is the {noun.en}?", f"wo ist {_der(noun)}?", f"où est {noun.le}?", f"¿dónde está {noun.es}?"
        )
    return _sentence(
        f"is the {noun.en} {adjective.en}?",
        f"ist {_der(noun)} {adjective.de}?",
        f"est-ce que {noun.le} est {adjective.french(noun)}?",
        f"¿es {adjective.spanish(noun)} {noun.es}?",
    )


def _living(rng: random.Random) -> Sentence:
    first, second = rng.sample(NAMES, 2)
    room, time = rng.choice(ROOMS[:6]), rng.choice(TIMES)
    if rng.random() < 0.5:
        return _sentence(
            f"{first} and {second} are in {room[0]}.",
            f"{first} und {second} sind {room[1]}.",
            f"{first} et {second} sont {room[2]}.",
            f"{first} y {second} están {room[3]}.",
        )
    return _sentence(
        f"{first} is in {room[0]} {time[0]}.",
        f"{first} ist {time[1]} {room[1]}.",
        f"{first} est {room[2]} {time[2]}.",
        f"{first} está {room[3]} {time[3]}.",
    )


def _fixed(rng: random.Random) -> Sentence:
    return _sentence(*rng.choice(FIXED))


_KINDS = (_counting, _place, _resting, _seeing, _being, _eating, _weather, _asking, _living, _fixed)
_WEIGHTS = (3, 3, 3, 3, 2, 2, 1, 2, 2, 1)


def sample_sentence(rng: random.Random, held_out: bool = False) -> Sentence:
    """A random sentence that is, or is not, among those held out."""
    while True:
        sentence = rng.choices(_KINDS, _WEIGHTS)[0](rng)
        if sentence.held_out == held_out:
            return sentence


def words(text: str) -> list[str]:
    """A spoken text's words, lower case, without punctuation: what a listener hears."""
    return "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()
