"""Exercises with one right answer: copying, spelling, counting, sums, translation. Copying comes first in training."""

import random

from gemma_cli.commands import translate
from training.data import grammar, lexicon, numbers
from training.data.exchange import Exchange, Message, asked, drawn, is_word, some_passage, some_word


def repeat(rng: random.Random, held_out: bool = False) -> Exchange:
    passage = drawn(lambda: some_passage(rng), held_out)
    ask = rng.choice(
        (
            "Repeat: {}",
            "Repeat after me: {}",
            "Say: {}",
            "Copy this: {}",
            "Please repeat: {}",
            "Repeat this:\n{}",
            'Repeat "{}"',
        )
    )
    return asked("repeat", ask.format(passage), passage)


def echo(rng: random.Random, held_out: bool = False) -> Exchange:
    """An entry of a table. The answer names its key first: what follows that in the table is then only to be copied."""
    table = _some_table(rng)
    entry, value = rng.choice(list(table.items()))
    return asked("echo", f"{_written(table)}\nWhat is {entry}?", f"{entry}: {value}")


def lookups(rng: random.Random, held_out: bool = False) -> Exchange:
    """A table, and question after question about it: the same lesson many times as dense."""
    table = _some_table(rng)
    told = f"{_written(table)}\n"
    messages: list[Message] = []
    for _ in range(rng.randint(3, 8)):
        entry, value = rng.choice(list(table.items()))
        messages += asked("echo", f"{told}What is {entry}?", f"{entry}: {value}").messages
        told = ""
    return Exchange("lookups", messages)


def _some_table(rng: random.Random) -> dict[str, str]:
    entries = rng.sample(
        ("one", "two", "three", "four", "five", "six", "A", "B", "C", "D", "x", "y", *lexicon.NAMES), rng.randint(2, 6)
    )
    return {entry: some_word(rng) if rng.random() < 0.6 else str(rng.randrange(100)) for entry in entries}


def _written(table: dict[str, str]) -> str:
    return "\n".join(f"{entry}: {value}" for entry, value in table.items())


def twice(rng: random.Random, held_out: bool = False) -> Exchange:
    passage = drawn(lambda: " ".join(some_word(rng) for _ in range(rng.randint(1, 4))), held_out)
    count = rng.randint(2, 5)
    ask = rng.choice((f"Say {passage} {count} times.", f"Repeat {count} times: {passage}"))
    return asked("repeat", ask, " ".join([passage] * count))


def _spelled(word: str) -> str:
    return "-".join(word)


def spell(rng: random.Random, held_out: bool = False) -> Exchange:
    word = drawn(lambda: some_word(rng), held_out, is_word)
    ask = rng.choice(("Spell {}.", "Spell the word {}.", "Spell: {}", "How do you spell {}?", "Please spell {}."))
    return asked("spell", ask.format(word), _spelled(word))


def spell_sentence(rng: random.Random, held_out: bool = False) -> Exchange:
    sentence = grammar.sample_sentence(rng, held_out).written["en"].rstrip(".?")
    answer = " ".join(_spelled(word) for word in sentence.split())
    return asked("spell", rng.choice(("Spell the sentence: {}", "Spell every word: {}")).format(sentence), answer)


def count(rng: random.Random, held_out: bool = False) -> Exchange:
    def draw() -> str:
        start = 1 if rng.random() < 0.5 else rng.randint(0, 80)
        return f"{start}-{start + rng.randint(2, rng.choice((9, 15, 30, 40)))}"

    start, stop = map(int, drawn(draw, held_out, lambda span: span.startswith("1-")).split("-"))
    if rng.random() < 0.2:
        return asked("count", f"Count down from {stop} to {start}.", ", ".join(map(str, range(stop, start - 1, -1))))
    ask = [f"Count from {start} to {stop}.", f"Count from {start} to {stop}"]
    if start == 1:
        ask += [f"Count to {stop}.", f"Please count to {stop}."]
    return asked("count", rng.choice(ask), ", ".join(map(str, range(start, stop + 1))))


_LISTS = {
    "colours": tuple(c.en for c in lexicon.COLOURS),
    "colors": tuple(c.en for c in lexicon.COLOURS),
    "animals": tuple(n.en for n in lexicon.ANIMALS),
    "things": tuple(n.en for n in lexicon.THINGS),
    "names": lexicon.NAMES,
    "drinks": ("milk", "water", "tea", "coffee"),
    "shapes": ("circle", "square", "triangle", "star", "cross"),
    "numbers": ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
}


def listing(rng: random.Random, held_out: bool = False) -> Exchange:
    """The first few of a kind, in one order, as a list on one line or one to a line."""
    kind = rng.choice(tuple(_LISTS))
    length = rng.randint(2, len(_LISTS[kind]))
    said = rng.choice((str(length), numbers.english(length)))
    if rng.random() < 0.3:
        return asked("list", f"List {said} {kind}, one per line.", "\n".join(f"- {x}" for x in _LISTS[kind][:length]))
    ask = rng.choice(("List {} {}.", "Name {} {}.", "Tell me {} {}."))
    return asked("list", ask.format(said, kind), ", ".join(_LISTS[kind][:length]))


def digits(rng: random.Random, held_out: bool = False) -> Exchange:
    """Number words to digits and back: what transcribing a number needs beyond hearing it."""
    number = int(drawn(lambda: str(rng.randrange(1000)), held_out))
    language = rng.choice(("en", "en", "en", "de"))
    words = numbers.english(number, rng.random() < 0.6) if language == "en" else numbers.german(number)
    if rng.random() < 0.75:
        return asked(
            "digits",
            rng.choice(("Write in digits: {}", "In digits: {}", "Which number is {}?")).format(words),
            str(number),
        )
    return asked("digits", f"Write {number} in words.", numbers.english(number))


def add_aloud(a: int, b: int) -> str:
    """Column addition as a thought, units first, three columns always: every digit stands at a fixed distance.

    One digit is one token, so `047 + 385: 7 + 5 + 0 = 12, 4 + 8 + 1 = 13, 0 + 3 + 1 = 04` is a pattern of offsets,
    which a few layers learn; finding the tens of numbers of any length is not.
    """
    steps, carry = [], 0
    for place in range(3):
        x, y = a // 10**place % 10, b // 10**place % 10
        total = x + y + carry
        steps.append(f"{x} + {y} + {carry} = {total:02}")
        carry = total // 10
    return f"{a:03} + {b:03}: " + ", ".join(steps) + f". So {a + b:04}."


def subtract_aloud(a: int, b: int) -> str:
    """Column subtraction (a >= b) in the same way; where a digit is too small it takes ten from the next column."""
    steps, borrow = [], 0
    for place in range(3):
        x, y = a // 10**place % 10, b // 10**place % 10
        lent = 10 if x < y + borrow else 0
        steps.append(f"{x + lent:02} - {y} - {borrow} = {x + lent - y - borrow}")
        borrow = lent // 10
    return f"{a:03} - {b:03}: " + ", ".join(steps) + f". So {a - b:04}."


def multiply_aloud(a: int, b: int) -> str:
    """A product, which is known by heart."""
    return f"{a} * {b} = {a * b}."


def some_operand(rng: random.Random) -> int:
    """Small numbers more often than their share: up to 10, up to 99 or up to 999."""
    return rng.randrange(rng.choice((11, 100, 100, 1000)))


def sums(rng: random.Random, held_out: bool = False) -> Exchange:
    """Sums and differences of up to three digits, products up to 10 by 10; half of them with a thought."""
    thinking = rng.random() < 0.5

    def draw() -> str:
        sign = rng.choice("++++---*")
        if sign == "*":
            return f"{rng.randint(0, 10)} * {rng.randint(0, 10)}"
        a, b = some_operand(rng), some_operand(rng)
        return f"{max(a, b)} - {min(a, b)}" if sign == "-" else f"{a} + {b}"

    problem = drawn(draw, held_out, lambda item: "*" in item or len(item) == 5)  # tables are learned by heart
    a, sign, b = problem.split()
    x, y = int(a), int(b)
    result = {"+": x + y, "-": x - y, "*": x * y}[sign]
    thought = {"+": add_aloud, "-": subtract_aloud, "*": multiply_aloud}[sign](x, y)
    messages = [
        {"role": "user", "content": sum_question(problem, rng)},
        {"role": "assistant", "content": str(result)},
    ]
    if thinking:
        messages[-1]["reasoning"] = thought
    return Exchange("sums aloud" if thinking else "sums", messages, thinking=thinking)


def sum_question(problem: str, rng: random.Random) -> str:
    """A way to ask for `12 + 3`."""
    a, sign, b = problem.split()
    word = {"+": "plus", "-": "minus", "*": "times"}[sign]
    close = problem.replace(" ", "")
    ways = ("What is {}?", "What is {}?", "{} =", "How much is {}?", "{}")
    if rng.random() < 0.15:
        return f"What is {a} {word} {b}?"
    return rng.choice(ways).format(problem if rng.random() < 0.6 else close)


def word_translation(rng: random.Random) -> Exchange:
    """One noun with its article, or one adjective, from or into English: too few to keep any back."""
    language = rng.choice(("de", "fr", "es"))
    if rng.random() < 0.5:
        noun = rng.choice(lexicon.THINGS + lexicon.ANIMALS + lexicon.PEOPLE)
        english, foreign = f"the {noun.en}", {"de": f"{noun.gender} {noun.de}", "fr": noun.le, "es": noun.es}[language]
    else:
        adjective = rng.choice(lexicon.COLOURS + lexicon.QUALITIES)
        english = adjective.en
        foreign = {"de": adjective.de, "fr": adjective.fr[0], "es": adjective.es[0]}[language]
    name = grammar.LANGUAGES[language]
    if rng.random() < 0.3:
        return asked("words", translate.text_prompt(foreign, rng.choice((name, None)), "English"), english)
    ask = rng.choice(("How do you say {} in {}?", "What is {} in {}?", "Translate {} into {}."))
    return asked("words", ask.format(english, name), foreign)


def language_pair(rng: random.Random) -> tuple[str, str]:
    """From which language into which: mostly from or into English, German first."""
    if rng.random() < 0.15:
        source, target = rng.sample(("de", "fr", "es"), 2)
        return source, target
    other = rng.choice(("de", "de", "fr", "es"))
    return ("en", other) if rng.random() < 0.5 else (other, "en")


def translation(rng: random.Random, held_out: bool = False) -> Exchange:
    if rng.random() < 0.12 and not held_out:
        return word_translation(rng)
    sentence = grammar.sample_sentence(rng, held_out)
    source, target = language_pair(rng)
    named = grammar.LANGUAGES[source] if rng.random() < 0.6 else None
    text, answer = sentence.written[source], sentence.written[target]
    if rng.random() < 0.15:
        more = grammar.sample_sentence(rng, held_out)
        text, answer = f"{text} {more.written[source]}", f"{answer} {more.written[target]}"
    kind = f"{source} into {target}"
    if rng.random() < 0.85:
        return asked(kind, translate.text_prompt(text, named, grammar.LANGUAGES[target]), answer)
    return asked(kind, f"Translate into {grammar.LANGUAGES[target]}: {text}", answer)
