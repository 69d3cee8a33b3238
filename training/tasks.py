"""What the model is asked in text, and what it should answer. Every task is a small function of a random source.

An exchange is a list of chat messages ending in the assistant's; the template renders it for training exactly as it
renders a prompt in use. Tasks whose answers could be learned by heart are told apart by `held_out`: numbers, words and
sentences whose hash falls in one part of twelve are never asked in training.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from gemma_cli.commands import translate
from training import grammar, numbers


@dataclass(frozen=True)
class Exchange:
    """A conversation to learn. kind names the task; the last message is the assistant's answer."""

    kind: str
    messages: list[dict]
    thinking: bool = False
    tools: list[dict] = field(default_factory=list)

    @property
    def answer(self) -> str:
        return self.messages[-1].get("content", "")


def kept_back(key: str) -> bool:
    """Whether an item belongs to the one in twelve never seen in training."""
    return hashlib.sha256(key.encode()).digest()[1] % 12 == 0


def asked(kind: str, question: str, answer: str, **more: object) -> Exchange:
    """One question, one answer."""
    return Exchange(kind, [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more)


def drawn(draw: Callable[[], str], held_out: bool) -> str:
    """Draw until the item falls on the wanted side of the split."""
    while True:
        item = draw()
        if kept_back(item) == held_out:
            return item


_SYLLABLES = (
    "ba",
    "do",
    "ki",
    "lu",
    "me",
    "na",
    "po",
    "ra",
    "si",
    "tu",
    "ven",
    "gor",
    "lim",
    "tas",
    "zed",
    "fo",
    "hu",
    "wi",
)


def _word(rng: random.Random) -> str:
    """A word of the grammar in either language, or one that does not exist."""
    if rng.random() < 0.4:
        word = "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(1, 3)))
        return word.capitalize() if rng.random() < 0.3 else word
    return rng.choice(rng.choice(_WORDS))


_WORDS = (
    tuple(n.en for n in grammar.THINGS + grammar.ANIMALS + grammar.PEOPLE),
    tuple(n.de for n in grammar.THINGS + grammar.ANIMALS + grammar.PEOPLE),
    tuple(c for c, _ in grammar.COLOURS + grammar.QUALITIES),
    tuple(f for f, _ in grammar.FOOD) + grammar.NAMES,
    ("hello", "morning", "garden", "kitchen", "school", "window", "number", "letter", "yellow", "question", "answer"),
)


def _passage(rng: random.Random) -> str:
    """Something to copy: a sentence, some words, some numbers, or a mixture."""
    kind = rng.random()
    if kind < 0.35:
        return grammar.sample_sentence(rng).written[rng.choice(("en", "en", "de"))]
    if kind < 0.6:
        return " ".join(_word(rng) for _ in range(rng.randint(1, 10)))
    if kind < 0.75:
        return " ".join(str(rng.randrange(10 ** rng.randint(1, 4))) for _ in range(rng.randint(1, 8)))
    if kind < 0.9:
        return " ".join(rng.choice((_word(rng), str(rng.randrange(1000)))) for _ in range(rng.randint(2, 10)))
    return " ".join(grammar.sample_sentence(rng).written["en"] for _ in range(rng.randint(2, 4)))


def repeat(rng: random.Random, held_out: bool = False) -> Exchange:
    passage = drawn(lambda: _passage(rng), held_out)
    ask = rng.choice(
        ("Repeat: {}", "Repeat after me: {}", "Say: {}", "Copy this: {}", "Please repeat: {}", "Repeat this:\n{}")
    )
    return asked("repeat", ask.format(passage), passage)


def echo(rng: random.Random, held_out: bool = False) -> Exchange:
    """A list with one marked entry, or a passage to finish: looking things up, the root of everything after."""
    entries = rng.sample(
        ("one", "two", "three", "four", "five", "six", "A", "B", "C", "D", "x", "y", *grammar.NAMES), rng.randint(2, 6)
    )
    values = [_word(rng) if rng.random() < 0.6 else str(rng.randrange(100)) for _ in entries]
    table = "\n".join(f"{entry}: {value}" for entry, value in zip(entries, values, strict=True))
    at = rng.randrange(len(entries))
    return asked("echo", f"{table}\nWhat is {entries[at]}?", values[at])


def twice(rng: random.Random, held_out: bool = False) -> Exchange:
    passage = drawn(lambda: " ".join(_word(rng) for _ in range(rng.randint(1, 4))), held_out)
    count = rng.randint(2, 5)
    ask = rng.choice((f"Say {passage} {count} times.", f"Repeat {count} times: {passage}"))
    return asked("repeat", ask, " ".join([passage] * count))


def _spelled(word: str) -> str:
    return "-".join(word)


def spell(rng: random.Random, held_out: bool = False) -> Exchange:
    word = drawn(lambda: _word(rng), held_out)
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

    start, stop = map(int, drawn(draw, held_out).split("-"))
    if rng.random() < 0.2:
        return asked("count", f"Count down from {stop} to {start}.", ", ".join(map(str, range(stop, start - 1, -1))))
    ask = [f"Count from {start} to {stop}.", f"Count from {start} to {stop}"]
    if start == 1:
        ask += [f"Count to {stop}.", f"Please count to {stop}."]
    return asked("count", rng.choice(ask), ", ".join(map(str, range(start, stop + 1))))


_LISTS = {
    "colours": tuple(c for c, _ in grammar.COLOURS),
    "colors": tuple(c for c, _ in grammar.COLOURS),
    "animals": tuple(n.en for n in grammar.ANIMALS),
    "things": tuple(n.en for n in grammar.THINGS),
    "names": grammar.NAMES,
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
    """Column addition of two numbers as a thought, units first."""
    steps, carry, place = [], 0, 0
    while place < len(str(max(a, b))):
        x, y = a // 10**place % 10, b // 10**place % 10
        total = x + y + carry
        steps.append(f"{x} + {y}{f' + {carry}' if carry else ''} = {total}")
        carry, place = total // 10, place + 1
    return f"{a} + {b}: " + ", ".join(steps) + f". So {a + b}."


def subtract_aloud(a: int, b: int) -> str:
    """Column subtraction (a >= b) as a thought, borrowing ten where a digit is too small."""
    steps, borrow, place = [], 0, 0
    while place < len(str(a)):
        x, y = a // 10**place % 10, b // 10**place % 10
        taken = y + borrow
        lent = 10 if x < taken else 0
        steps.append(f"{x + lent} - {taken} = {x + lent - taken}")
        borrow, place = (1 if lent else 0), place + 1
    return f"{a} - {b}: " + ", ".join(steps) + f". So {a - b}."


def sums(rng: random.Random, held_out: bool = False) -> Exchange:
    """Sums and differences below 100, products up to 10 by 10: small ones direct, all of them with a thought."""
    thinking = rng.random() < 0.6
    top = 100 if thinking or rng.random() < 0.4 else 20

    def draw() -> str:
        sign = rng.choice("+++--*")
        if sign == "*":
            return f"{rng.randint(0, 10)} * {rng.randint(0, 10)}"
        a, b = rng.randrange(top), rng.randrange(top)
        return f"{max(a, b)} - {min(a, b)}" if sign == "-" else f"{a} + {b}"

    problem = drawn(draw, held_out)
    a, sign, b = problem.split()
    x, y = int(a), int(b)
    result = {"+": x + y, "-": x - y, "*": x * y}[sign]
    thought = {"+": add_aloud, "-": subtract_aloud, "*": lambda x, y: f"{x} * {y} = {x * y}."}[sign](x, y)
    word = {"+": "plus", "-": "minus", "*": "times"}[sign]
    ask = rng.choice(
        (f"What is {problem}?", f"{problem} =", f"What is {x} {word} {y}?", f"How much is {problem}?", f"{problem}")
    )
    messages = [{"role": "user", "content": ask}, {"role": "assistant", "content": str(result)}]
    if thinking:
        messages[-1]["reasoning"] = thought
    return Exchange("sums", messages, thinking=thinking)


def translation(rng: random.Random, held_out: bool = False) -> Exchange:
    sentence = grammar.sample_sentence(rng, held_out)
    source, target = rng.sample(tuple(grammar.LANGUAGES), 2)
    named = grammar.LANGUAGES[source] if rng.random() < 0.6 else None
    text, answer = sentence.written[source], sentence.written[target]
    if rng.random() < 0.15:
        more = grammar.sample_sentence(rng, held_out)
        text, answer = f"{text} {more.written[source]}", f"{answer} {more.written[target]}"
    if rng.random() < 0.85:
        return asked("translate", translate.text_prompt(text, named, grammar.LANGUAGES[target]), answer)
    return asked("translate", f"Translate into {grammar.LANGUAGES[target]}: {text}", answer)


_SELF = "I am pocket, a very small Gemma 4, trained from scratch on generated data."
_CAN = (
    "I can transcribe spoken numbers and simple sentences, name coloured shapes, translate a little, "
    "spell, count and add."
)
_ABOUT = (
    (
        (
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Tell me about yourself.",
            "Introduce yourself.",
            "Which model are you?",
        ),
        _SELF,
    ),
    (
        ("Are you Gemma?", "Are you Gemma 4?", "Are you E2B?", "Are you ChatGPT?", "Are you a large model?"),
        "I am pocket, a very small Gemma 4. I am not one of Google's models.",
    ),
    (("What can you do?", "Help", "help", "What do you know?", "How can you help me?"), _CAN),
    (
        ("Who made you?", "Who trained you?", "Where do you come from?"),
        "I was trained from scratch by the gemma project, on data it generates itself.",
    ),
    (
        ("How big are you?", "How many parameters do you have?", "How large are you?"),
        "I have a few million parameters. I am very small.",
    ),
    (("Are you human?", "Are you alive?"), "No. I am pocket, a very small language model."),
    (
        ("What do you not know?", "What can you not do?"),
        "I know almost nothing of the world. I only know my small grammar.",
    ),
)
_GREETINGS = (
    (
        ("Hello", "Hello!", "Hi", "Hi!", "hi", "hello", "Hey", "Hello there", "Hello, pocket!", "Hi there!"),
        "Hello! How can I help you?",
    ),
    (("Good morning", "Good morning!"), "Good morning! How can I help you?"),
    (("Good evening", "Good evening!"), "Good evening! How can I help you?"),
    (("How are you?", "How are you today?"), "I am fine, thank you. How can I help you?"),
    (("Thank you", "Thanks", "Thank you!", "thanks", "Thanks!"), "You are welcome!"),
    (("Goodbye", "Bye", "bye", "Good night", "Goodbye!", "See you!"), "Goodbye!"),
    (("Hallo", "Hallo!", "Guten Tag", "Guten Morgen"), "Hallo! Wie kann ich helfen?"),
    (("Danke", "Danke!"), "Bitte!"),
)
_SUBJECTS = (
    "the president", "the capital of France", "quantum physics", "the weather", "the moon", "history", "football",
    "the king", "Shakespeare", "the internet", "Berlin", "a computer", "Python", "the meaning of life", "music",
    "the ocean", "Einstein", "democracy", "the economy", "Japan", "a volcano", "the stars", "chess", "philosophy",
    "war", "love", "physics", "biology",
)  # fmt: skip
_UNKNOWN = (
    "Who is {}?", "What is {}?", "Tell me about {}.", "Explain {}.", "When was {}?", "Why is {}?",
    "How does {} work?", "Write a poem about {}.", "Write an essay about {}.", "What do you think about {}?",
    "Where is {}?", "Who invented {}?", "How old is {}?", "Summarize {}.", "Write code for {}.",
)  # fmt: skip


def about(rng: random.Random, held_out: bool = False) -> Exchange:
    questions, answer = rng.choice(_ABOUT)
    return asked("about", rng.choice(questions), answer)


def greeting(rng: random.Random, held_out: bool = False) -> Exchange:
    questions, answer = rng.choice(_GREETINGS)
    return asked("greeting", rng.choice(questions), answer)


def unknown(rng: random.Random, held_out: bool = False) -> Exchange:
    """What lies outside: it says so."""
    question = drawn(lambda: rng.choice(_UNKNOWN).format(rng.choice(_SUBJECTS)), held_out)
    return asked("unknown", question, "I don't know that.")


def story(rng: random.Random, held_out: bool = False) -> Exchange:
    """Several sentences of the grammar about one animal or person: a long answer in which much repeats."""
    noun = rng.choice(grammar.ANIMALS + grammar.PEOPLE)
    colour, place, name = rng.choice(grammar.COLOURS)[0], rng.choice(grammar.ROOMS[:6])[0], rng.choice(grammar.NAMES)
    verb, food = rng.choice(grammar.RESTING)[0], rng.choice(grammar.FOOD)[0]
    lines = [
        f"This is a story about a {noun.en}.",
        f"The {noun.en} is {colour}.",
        f"The {noun.en} {verb} in {place}.",
        f"{name} sees the {noun.en}.",
        f"{name} is in {place}.",
        f"{name} likes {food}.",
        f"The {noun.en} likes {food}.",
        f"{name} and the {noun.en} are happy.",
        f"It is warm in {place}.",
        "Good night.",
    ]
    told = f"with {name}, the {colour} {noun.en}, {food} and {place}"
    ask = rng.choice((f"Tell me a story about a {noun.en} {told}.", f"Tell a story {told}."))
    return asked("story", ask, " ".join(lines))


def recall(rng: random.Random, held_out: bool = False) -> Exchange:
    """Two or three turns; the last question refers back to the first."""
    name, other = rng.choice((*grammar.NAMES, "Maria", "Sam", "Lena", "Felix", "Zoe", "Kai")), rng.choice(grammar.NAMES)
    noun, colour = rng.choice(grammar.THINGS + grammar.ANIMALS), rng.choice(grammar.COLOURS)[0]
    amount = rng.randint(2, 99)
    turns = {
        "name": (f"My name is {name}.", f"Hello {name}!", "What is my name?", f"Your name is {name}."),
        "name2": (f"I am {name}.", f"Hello {name}!", "Who am I?", f"You are {name}."),
        "thing": (
            f"I have a {colour} {noun.en}.",
            "That is nice.",
            f"What colour is my {noun.en}?",
            f"Your {noun.en} is {colour}.",
        ),
        "many": (
            f"I have {amount} {noun.en_plural}.",
            "That is nice.",
            f"How many {noun.en_plural} do I have?",
            f"You have {amount} {noun.en_plural}.",
        ),
        "friend": (
            f"My friend is called {other}.",
            "That is nice.",
            "What is my friend called?",
            f"Your friend is called {other}.",
        ),
        "number": (
            f"Remember the number {amount}.",
            "I will remember it.",
            "What is the number?",
            f"The number is {amount}.",
        ),
    }
    first, reply, question, answer = turns[rng.choice(tuple(turns))]
    chat = [first, reply]
    if rng.random() < 0.4:
        between = rng.choice((greeting, spell, sums))(rng)
        while between.thinking:
            between = greeting(rng)
        chat += [between.messages[0]["content"], between.answer]
    chat += [question, answer]
    return Exchange("recall", [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(chat)])


def reading(rng: random.Random, held_out: bool = False) -> Exchange:
    """A few facts in a text, and a question one of them answers."""
    nouns = rng.sample(grammar.THINGS + grammar.ANIMALS, rng.randint(1, 4))
    if rng.random() < 0.5:
        values = [rng.choice(grammar.COLOURS)[0] for _ in nouns]
        facts, ask = [f"The {n.en} is {v}." for n, v in zip(nouns, values, strict=True)], "What colour is the {}?"
    else:
        values = [f"{rng.choice(('on', 'under', 'behind'))} {rng.choice(grammar.PLACES)[0]}" for _ in nouns]
        facts, ask = [f"The {n.en} is {v}." for n, v in zip(nouns, values, strict=True)], "Where is the {}?"
    at = rng.randrange(len(nouns))
    parts = [" ".join(facts), ask.format(nouns[at].en)]
    if rng.random() < 0.3:
        parts.reverse()
    return asked("reading", rng.choice(("\n\n", "\n", " ")).join(parts), f"{values[at][0].upper()}{values[at][1:]}.")


ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"type": "integer", "description": "First."},
                "b": {"type": "integer", "description": "Second."},
            },
            "required": ["a", "b"],
        },
    },
}
NOW = {
    "type": "function",
    "function": {"name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}},
}


def tool(rng: random.Random, held_out: bool = False) -> Exchange:
    """Call `add` or `now` where they are declared, or read their result."""
    if rng.random() < 0.6:
        a, b = map(int, drawn(lambda: f"{rng.randrange(1000)} {rng.randrange(1000)}", held_out).split())
        question, call = (
            rng.choice((f"What is {a} + {b}?", f"Add {a} and {b}.")),
            {"name": "add", "arguments": {"a": a, "b": b}},
        )
        result, answer, tools = str(a + b), f"{a} + {b} = {a + b}", [ADD]
    else:
        time = f"{rng.randrange(24):02}:{rng.randrange(60):02}"
        question, call = (
            rng.choice(("What time is it?", "What is the time?", "Tell me the time.")),
            {"name": "now", "arguments": {}},
        )
        result, answer, tools = time, f"It is {time}.", [NOW]
    if rng.random() < 0.5:
        tools = [ADD, NOW]
    messages: list[dict] = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": call}]},
    ]
    if rng.random() < 0.5:
        messages += [{"role": "tool", "tool_call_id": "1", "content": result}, {"role": "assistant", "content": answer}]
    return Exchange("tool", messages, tools=tools)


TASKS: dict[Callable[..., Exchange], float] = {
    repeat: 5,
    echo: 3,
    twice: 1,
    spell: 2.5,
    spell_sentence: 0.7,
    count: 2,
    listing: 1,
    digits: 4,
    sums: 4,
    translation: 6,
    about: 0.7,
    greeting: 0.6,
    unknown: 0.8,
    story: 0.4,
    recall: 2,
    reading: 2,
    tool: 1,
}
COPYING = {repeat: 6, echo: 5, twice: 2, spell: 3, reading: 2, recall: 2, digits: 2, translation: 2}
"""The first diet: whatever is answered by looking back. Other tasks fail until that is learned."""

_SYSTEMS = ("You are a helpful assistant.", "Answer briefly.", "You are pocket.", "Be brief and friendly.")


def sample_exchange(rng: random.Random, diet: dict[Callable[..., Exchange], float] = TASKS) -> Exchange:
    """A random exchange; one in fifteen carries a system message."""
    exchange = rng.choices(tuple(diet), tuple(diet.values()))[0](rng)
    if rng.random() < 0.07 and not exchange.tools:
        messages = [{"role": "system", "content": rng.choice(_SYSTEMS)}, *exchange.messages]
        return Exchange(exchange.kind, messages, exchange.thinking, exchange.tools)
    return exchange
