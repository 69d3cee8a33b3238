"""The closed grammar: some ten thousand sentences of about 150 words, in English and German, side by side.

A sentence is drawn once and written in every language at once, so each is the exact translation of the other. German
needs a noun's gender and cases: nominative article, accusative article, dative place; adjectives are kept in the weak
declension after a definite article, or strong in the plural, where one ending serves.
"""

import hashlib
import random
from dataclasses import dataclass

LANGUAGES = {"en": "English", "de": "German"}

NAMES = ("Tom", "Anna", "Ben", "Lisa", "Max", "Emma", "Paul", "Nina")


@dataclass(frozen=True)
class Noun:
    """An English noun and its German: gender is the nominative article der, die or das."""

    en: str
    en_plural: str
    gender: str
    de: str
    de_plural: str

    @property
    def den(self) -> str:
        """The accusative article."""
        return {"der": "den", "die": "die", "das": "das"}[self.gender]

    @property
    def einen(self) -> str:
        """The accusative indefinite article."""
        return {"der": "einen", "die": "eine", "das": "ein"}[self.gender]


THINGS = (
    Noun("ball", "balls", "der", "Ball", "Bälle"),
    Noun("book", "books", "das", "Buch", "Bücher"),
    Noun("cup", "cups", "die", "Tasse", "Tassen"),
    Noun("hat", "hats", "der", "Hut", "Hüte"),
    Noun("key", "keys", "der", "Schlüssel", "Schlüssel"),
    Noun("chair", "chairs", "der", "Stuhl", "Stühle"),
    Noun("apple", "apples", "der", "Apfel", "Äpfel"),
    Noun("flower", "flowers", "die", "Blume", "Blumen"),
    Noun("lamp", "lamps", "die", "Lampe", "Lampen"),
    Noun("car", "cars", "das", "Auto", "Autos"),
)
ANIMALS = (
    Noun("dog", "dogs", "der", "Hund", "Hunde"),
    Noun("cat", "cats", "die", "Katze", "Katzen"),
    Noun("bird", "birds", "der", "Vogel", "Vögel"),
    Noun("horse", "horses", "das", "Pferd", "Pferde"),
    Noun("fish", "fish", "der", "Fisch", "Fische"),
    Noun("mouse", "mice", "die", "Maus", "Mäuse"),
)
PEOPLE = (
    Noun("man", "men", "der", "Mann", "Männer"),
    Noun("woman", "women", "die", "Frau", "Frauen"),
    Noun("child", "children", "das", "Kind", "Kinder"),
    Noun("teacher", "teachers", "der", "Lehrer", "Lehrer"),
)
PLACES = (
    # English, German after auf/unter/hinter/vor, i.e. in the dative
    ("the table", "dem Tisch"), ("the bed", "dem Bett"), ("the house", "dem Haus"), ("the tree", "dem Baum"),
    ("the door", "der Tür"), ("the box", "der Kiste"), ("the bridge", "der Brücke"), ("the school", "der Schule"),
)  # fmt: skip
ROOMS = (
    ("the garden", "im Garten"),
    ("the kitchen", "in der Küche"),
    ("the house", "im Haus"),
    ("the city", "in der Stadt"),
    ("the school", "in der Schule"),
    ("the park", "im Park"),
    ("the street", "auf der Straße"),
)
PREPOSITIONS = (("on", "auf"), ("under", "unter"), ("behind", "hinter"), ("in front of", "vor"))
COLOURS = (
    ("red", "rot"),
    ("blue", "blau"),
    ("green", "grün"),
    ("yellow", "gelb"),
    ("black", "schwarz"),
    ("white", "weiß"),
)
QUALITIES = (
    ("big", "groß"),
    ("small", "klein"),
    ("old", "alt"),
    ("new", "neu"),
    ("good", "gut"),
    ("beautiful", "schön"),
)
SEEING = (
    ("sees", "sieht"),
    ("has", "hat"),
    ("wants", "will"),
    ("buys", "kauft"),
    ("finds", "findet"),
    ("paints", "malt"),
)
RESTING = (("sleeps", "schläft"), ("sits", "sitzt"), ("stands", "steht"), ("plays", "spielt"), ("waits", "wartet"))
FOOD = (
    ("bread", "Brot"), ("cheese", "Käse"), ("milk", "Milch"), ("water", "Wasser"), ("tea", "Tee"), ("coffee", "Kaffee"),
)  # fmt: skip
WEATHER = (("cold", "kalt"), ("warm", "warm"), ("hot", "heiß"), ("nice", "schön"))
TIMES = (("today", "heute"), ("now", "jetzt"), ("in the morning", "am Morgen"), ("in the evening", "am Abend"))
FIXED = (
    ("Good morning.", "Guten Morgen."),
    ("Good evening.", "Guten Abend."),
    ("Thank you.", "Danke."),
    ("Hello.", "Hallo."),
    ("Goodbye.", "Auf Wiedersehen."),
    ("How are you?", "Wie geht es dir?"),
    ("Yes, please.", "Ja, bitte."),
    ("I am happy.", "Ich bin froh."),
    ("I am tired.", "Ich bin müde."),
    ("We are here.", "Wir sind hier."),
    ("Good night.", "Gute Nacht."),
    ("It is raining.", "Es regnet."),
    ("It is snowing.", "Es schneit."),
    ("Please come here.", "Bitte komm her."),
    ("I do not know.", "Ich weiß es nicht."),
    ("No, thank you.", "Nein, danke."),
)

_COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_COUNTS_DE = ("zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn", "elf", "zwölf")


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
        if any(english == fixed for fixed, _ in FIXED):
            return False
        return hashlib.sha256(english.encode()).digest()[0] % 12 == 0


def _sentence(en: str, de: str, count: int | None = None) -> Sentence:
    """Fill `#` with a count's digit (written) or word (spoken)."""
    written, spoken = {"en": en, "de": de}, {"en": en, "de": de}
    if count is not None:
        written = {key: text.replace("#", str(count)) for key, text in written.items()}
        spoken = {"en": en.replace("#", _COUNTS[count - 2]), "de": de.replace("#", _COUNTS_DE[count - 2])}
    return Sentence(written, spoken)


def _counting(rng: random.Random) -> Sentence:
    name, noun = rng.choice(NAMES), rng.choice(THINGS + ANIMALS)
    verb, (colour, farbe) = rng.choice(SEEING), rng.choice(COLOURS)
    count = rng.randint(2, 12)
    if rng.random() < 0.5:
        return _sentence(f"{name} {verb[0]} # {noun.en_plural}.", f"{name} {verb[1]} # {noun.de_plural}.", count)
    ending = "e"
    return _sentence(
        f"{name} {verb[0]} # {colour} {noun.en_plural}.", f"{name} {verb[1]} # {farbe}{ending} {noun.de_plural}.", count
    )


def _weak(adjective: str) -> str:
    return adjective + "e"


def _place(rng: random.Random) -> Sentence:
    noun, (prep, prep_de), (place, ort) = rng.choice(THINGS + ANIMALS), rng.choice(PREPOSITIONS), rng.choice(PLACES)
    adjective, adjektiv = rng.choice(COLOURS + QUALITIES)
    if rng.random() < 0.5:
        return _sentence(
            f"The {noun.en} is {prep} {place}.", f"{noun.gender.capitalize()} {noun.de} ist {prep_de} {ort}."
        )
    return _sentence(
        f"The {adjective} {noun.en} is {prep} {place}.",
        f"{noun.gender.capitalize()} {_weak(adjektiv)} {noun.de} ist {prep_de} {ort}.",
    )


def _resting(rng: random.Random) -> Sentence:
    noun, (verb, verb_de) = rng.choice(ANIMALS + PEOPLE), rng.choice(RESTING)
    if rng.random() < 0.5:
        room, raum = rng.choice(ROOMS)
        preposition = "on" if room == "the street" else "in"
        return _sentence(
            f"The {noun.en} {verb} {preposition} {room}.", f"{noun.gender.capitalize()} {noun.de} {verb_de} {raum}."
        )
    (prep, prep_de), (place, ort) = rng.choice(PREPOSITIONS), rng.choice(PLACES)
    return _sentence(
        f"The {noun.en} {verb} {prep} {place}.", f"{noun.gender.capitalize()} {noun.de} {verb_de} {prep_de} {ort}."
    )


def _seeing(rng: random.Random) -> Sentence:
    (verb, verb_de), noun = rng.choice(SEEING), rng.choice(THINGS + ANIMALS)
    if rng.random() < 0.5:
        name = rng.choice(NAMES)
        return _sentence(f"{name} {verb} the {noun.en}.", f"{name} {verb_de} {noun.den} {noun.de}.")
    person = rng.choice(PEOPLE)
    article = "an" if noun.en[0] in "aeiou" else "a"
    return _sentence(
        f"The {person.en} {verb} {article} {noun.en}.",
        f"{person.gender.capitalize()} {person.de} {verb_de} {noun.einen} {noun.de}.",
    )


def _being(rng: random.Random) -> Sentence:
    noun, (adjective, adjektiv) = rng.choice(THINGS + ANIMALS), rng.choice(COLOURS + QUALITIES)
    negated = rng.random() < 0.3
    return _sentence(
        f"The {noun.en} is {'not ' if negated else ''}{adjective}.",
        f"{noun.gender.capitalize()} {noun.de} ist {'nicht ' if negated else ''}{adjektiv}.",
    )


def _eating(rng: random.Random) -> Sentence:
    food, essen = rng.choice(FOOD)
    drink = food in ("milk", "water", "tea", "coffee")
    verbs = (("likes", "mag"), ("drinks", "trinkt")) if drink else (("likes", "mag"), ("eats", "isst"))
    (verb, verb_de), (time, zeit) = rng.choice(verbs), rng.choice(TIMES)
    name = rng.choice(NAMES)
    if verb == "likes":
        other, anderes = rng.choice([f for f in FOOD if f[0] != food])
        return _sentence(f"{name} likes {food} and {other}.", f"{name} mag {essen} und {anderes}.")
    return _sentence(f"{name} {verb} {food} {time}.", f"{name} {verb_de} {zeit} {essen}.")


def _weather(rng: random.Random) -> Sentence:
    (weather, wetter), (time, zeit) = rng.choice(WEATHER), rng.choice(TIMES)
    (room, raum) = rng.choice(ROOMS[:6])
    if rng.random() < 0.4:
        return _sentence(f"It is {weather} {time}.", f"Es ist {zeit} {wetter}.")
    return _sentence(f"It is {weather} in {room}.", f"Es ist {wetter} {raum}.")


def _asking(rng: random.Random) -> Sentence:
    noun = rng.choice(THINGS + ANIMALS + PEOPLE)
    adjective, adjektiv = rng.choice(COLOURS + QUALITIES)
    if rng.random() < 0.5:
        return _sentence(f"Where is the {noun.en}?", f"Wo ist {noun.gender} {noun.de}?")
    return _sentence(f"Is the {noun.en} {adjective}?", f"Ist {noun.gender} {noun.de} {adjektiv}?")


def _living(rng: random.Random) -> Sentence:
    first, second = rng.sample(NAMES, 2)
    room, raum = rng.choice(ROOMS[:6])
    time, zeit = rng.choice(TIMES)
    if rng.random() < 0.5:
        return _sentence(f"{first} and {second} are in {room}.", f"{first} und {second} sind {raum}.")
    return _sentence(f"{first} is in {room} {time}.", f"{first} ist {zeit} {raum}.")


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
