"""Conversation: greetings, itself, what it does not know, stories, chats that refer back, texts read, tools called."""

import random

from training.data import lexicon
from training.data.drills import spell, sums
from training.data.exchange import Exchange, Message, asked, drawn

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
        "I know almost nothing of the world. I only know my small lexicon.",
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


def _typed(rng: random.Random, question: str) -> str:
    """A question as people type it: sometimes without capitals, sometimes without its mark."""
    if rng.random() < 0.25:
        question = question.lower()
    return question.rstrip("?!.") if rng.random() < 0.2 else question


def about(rng: random.Random, held_out: bool = False) -> Exchange:
    questions, answer = rng.choice(_ABOUT)
    return asked("about", _typed(rng, rng.choice(questions)), answer)


def greeting(rng: random.Random, held_out: bool = False) -> Exchange:
    questions, answer = rng.choice(_GREETINGS)
    return asked("greeting", _typed(rng, rng.choice(questions)), answer)


def unknown(rng: random.Random, held_out: bool = False) -> Exchange:
    """What lies outside: it says so."""
    question = drawn(lambda: rng.choice(_UNKNOWN).format(rng.choice(_SUBJECTS)), held_out)
    return asked("unknown", _typed(rng, question), "I don't know that.")


def story(rng: random.Random, held_out: bool = False) -> Exchange:
    """Several sentences of the grammar about one animal or person: a long answer in which much repeats."""
    noun = rng.choice(lexicon.ANIMALS + lexicon.PEOPLE)
    colour, place, name = rng.choice(lexicon.COLOURS).en, rng.choice(lexicon.ROOMS[:6])[0], rng.choice(lexicon.NAMES)
    verb, food = rng.choice(lexicon.RESTING)[0], rng.choice(lexicon.FOOD)[0]
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
    name, other = rng.choice((*lexicon.NAMES, "Maria", "Sam", "Lena", "Felix", "Zoe", "Kai")), rng.choice(lexicon.NAMES)
    noun, colour = rng.choice(lexicon.THINGS + lexicon.ANIMALS), rng.choice(lexicon.COLOURS).en
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
    facts, answers = _some_facts(rng)
    question, answer = rng.choice(answers)
    parts = [facts, question]
    if rng.random() < 0.3:
        parts.reverse()
    return asked("reading", rng.choice(("\n\n", "\n", " ")).join(parts), answer)


def readings(rng: random.Random, held_out: bool = False) -> Exchange:
    """Facts in a text, and question after question about them."""
    facts, answers = _some_facts(rng)
    told = facts + rng.choice(("\n\n", "\n", " "))
    messages = []
    for _ in range(rng.randint(2, 5)):
        question, answer = rng.choice(answers)
        messages += asked("reading", told + question, answer).messages
        told = ""
    return Exchange("readings", messages)


def _some_facts(rng: random.Random) -> tuple[str, list[tuple[str, str]]]:
    """A text of one to four facts of one sort; a question for each, answered by the fact itself: see `drills.echo`."""
    nouns = rng.sample(lexicon.THINGS + lexicon.ANIMALS, rng.randint(1, 4))
    if rng.random() < 0.5:
        values, ask = [rng.choice(lexicon.COLOURS).en for _ in nouns], "What colour is the {}?"
    else:
        values = [f"{rng.choice(('on', 'under', 'behind'))} {rng.choice(lexicon.PLACES)[0]}" for _ in nouns]
        ask = "Where is the {}?"
    facts = [f"The {noun.en} is {value}." for noun, value in zip(nouns, values, strict=True)]
    return " ".join(facts), [(ask.format(noun.en), fact) for noun, fact in zip(nouns, facts, strict=True)]


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
    messages: list[Message] = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": call}]},
    ]
    if rng.random() < 0.5:
        messages += [{"role": "tool", "tool_call_id": "1", "content": result}, {"role": "assistant", "content": answer}]
    return Exchange("tool", messages, tools=tools)
