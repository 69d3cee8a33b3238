"""What the checkpoint is asked: questions with right answers, none of them trained on."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import soxr  # type: ignore[import-untyped]
from PIL import Image

from gemma_cli.commands import describe_image
from training.data import dialogue, drills, grammar, scenes, speech, task_mix, timed_speech, voices
from training.data.exchange import Exchange, Message, Task
from training.stages import media_features


@dataclass
class Item:
    """One question: chat messages, the right answer, and its sound (16 kHz) or picture."""

    kind: str
    messages: list[Message]
    answer: str
    thinking: bool = False
    tools: list[Message] | None = None
    sound: np.ndarray | None = None
    picture: Image.Image | None = None


def spoken_items(kind: str, language: str, count: int, rng: random.Random, plain: bool = False) -> list[Item]:
    """Held-out voices (and sentences); with `plain`, the voice as it comes, undisturbed, at espeak's own settings."""
    items: list[Item] = []
    while len(items) < count:
        utterance = speech.sample_utterance(rng, language, held_out=True)
        if utterance.kind != kind:
            continue
        voice = voices.sample_voice(rng, language, held_out=True)
        if plain:
            accents = voices.ACCENTS[language]
            voice = voices.Voice(accents[len(items) % 2 % len(accents)], "", 150)
        samples = voices.say(utterance.spoken, voice)
        recording = speech.record(samples, rng)
        if plain:
            recording = soxr.resample(samples, voices.SAMPLE_RATE, speech.HEARD_RATE).astype(np.float32)
        items.append(spoken_item(media_features.transcription(language), utterance, recording))
    return items


def spoken_item(asking: media_features.Asking, utterance: speech.Utterance, recording: np.ndarray) -> Item:
    parts = [{"type": "text", "text": asking.prompt}, {"type": "audio"}]
    return Item(utterance.kind, [{"role": "user", "content": parts}], asking.answer(utterance), sound=recording)


def translated_items(source: str, target: str, count: int, rng: random.Random) -> list[Item]:
    """Held-out sentences heard from held-out voices, to be transcribed and translated."""
    items: list[Item] = []
    while len(items) < count:
        utterance = speech.sample_utterance(rng, source, held_out=True)
        if utterance.kind == "sentence":
            voice = voices.sample_voice(rng, source, held_out=True)
            recording = speech.record(voices.say(utterance.spoken, voice), rng)
            items.append(spoken_item(media_features.speech_translation(source, target), utterance, recording))
    return items


def passage_items(language: str, count: int, rng: random.Random, lively: bool) -> list[Item]:
    """Segments of two to six held-out sentences in a row."""
    asking = media_features.transcription(language)
    items = []
    for number in range(count):
        spoken = timed_speech.segment(rng, language, 2 + number % 5, lively)
        utterance = speech.Utterance("passage", language, spoken.text, spoken.text)
        items.append(spoken_item(asking, utterance, spoken.samples))
    return items


def scene_items(shapes: int, count: int, rng: random.Random) -> list[Item]:
    items: list[Item] = []
    for _ in range(count):
        scene = scenes.sample_scene(rng, shapes)
        parts = [{"type": "image"}, {"type": "text", "text": describe_image.PROMPT}]
        items.append(Item("scene", [{"role": "user", "content": parts}], scene.caption, picture=scenes.draw(scene)))
    return items


def text_items(
    task: Task,
    count: int,
    rng: random.Random,
    keep: Callable[[Exchange], bool] = bool,
) -> list[Item]:
    items: list[Item] = []
    while len(items) < count:
        exchange = task(rng, held_out=True)
        if not keep(exchange):
            continue
        last = exchange.messages[-1]
        answer = last.get("content", "")
        if last.get("tool_calls"):
            call = last["tool_calls"][0]["function"]
            arguments = ",".join(f"{k}:{v}" for k, v in call["arguments"].items())
            answer = f"<|tool_call>call:{call['name']}{{{arguments}}}<tool_call|><|tool_response>"
        items.append(Item(exchange.kind, exchange.messages[:-1], answer, exchange.thinking, exchange.tools or None))
    return items


def behind(items: list[Item], exchanges: int, rng: random.Random) -> list[Item]:
    """The same questions at the end of chats that went on for so many exchanges, of some 40 tokens each."""
    chats = []
    for item in items:
        history: list[Message] = []
        while len(history) < 2 * exchanges:
            exchange = task_mix.sample_exchange(rng)
            if not (exchange.thinking or exchange.tools) and exchange.messages[0]["role"] == "user":
                history += exchange.messages
        chats.append(replace(item, messages=history + item.messages))
    return chats


def some_text_items(count: int, rng: random.Random) -> list[Item]:
    """A little of every text task that one question asks, without thoughts."""
    asked = (
        drills.repeat,
        drills.spell,
        drills.count,
        drills.listing,
        drills.digits,
        drills.translation,
        dialogue.reading,
    )
    return [item for task in asked for item in text_items(task, -(-count // len(asked)), rng)]


def spoken_sentences(count: int) -> dict[str, list[Item]]:
    """The sentences heard of `suites(count)`, by the code of their language."""
    english = spoken_items("sentence", "en", count * 3, random.Random("evaluate-sentences"))
    foreign = foreign_suites(count)
    return {"en": english} | {
        code: foreign[f"{grammar.LANGUAGES[code]} sentences heard"] for code in grammar.LANGUAGES if code != "en"
    }


def foreign_suites(count: int) -> dict[str, list[Item]]:
    """Speech in the other languages, and text translated between them and English."""
    suites: dict[str, list[Item]] = {}
    for code in ("de", "fr", "es"):
        language, rng = grammar.LANGUAGES[code], random.Random(f"evaluate-{code}")
        suites[f"{language} numbers heard"] = spoken_items("number", code, count * 2, rng)
        suites[f"{language} sentences heard"] = spoken_items("sentence", code, count * 2, rng)
        suites[f"{language} sentences heard and translated"] = translated_items(code, "en", count, rng)
        suites[f"English sentences heard, translated into {language}"] = translated_items("en", code, count, rng)
        for pair in (f"{code} into en", f"en into {code}"):
            suites[f"text translated, {pair}"] = text_items(drills.translation, count, rng, partial(_is_kind, pair))
    return suites


def _is_kind(kind: str, exchange: Exchange) -> bool:
    return exchange.kind == kind


def suites(count: int) -> dict[str, list[Item]]:
    """Every measured task with `count` items; each suite has its own seed, so adding one moves no other."""

    def rng(name: str) -> random.Random:
        return random.Random(f"evaluate-{name}")

    return {
        "numbers heard, held-out voices": spoken_items("number", "en", count * 4, rng("numbers")),
        "numbers heard, plain en-gb and en-us": spoken_items("number", "en", count * 2, rng("plain"), plain=True),
        "sentences heard, held-out voices and sentences": spoken_items("sentence", "en", count * 3, rng("sentences")),
        **foreign_suites(count),
        **{
            f"{tempo} passages heard, {language}": passage_items(code, count, rng(f"{tempo} {code}"), tempo == "lively")
            for tempo in ("even", "lively")
            for code, language in grammar.LANGUAGES.items()
        },
        "scenes of one shape": scene_items(1, count * 2, rng("one")),
        "scenes of two shapes": scene_items(2, count * 2, rng("two")),
        "scenes of three shapes": scene_items(3, count * 2, rng("three")),
        "repeat": text_items(drills.repeat, count, rng("repeat")),
        "spell": text_items(drills.spell, count, rng("spell")),
        "spell a sentence": text_items(drills.spell_sentence, count, rng("spell sentence")),
        "count": text_items(drills.count, count, rng("count")),
        "list": text_items(drills.listing, count, rng("list")),
        "number words and digits": text_items(drills.digits, count, rng("digits")),
        "sums without thinking": text_items(drills.sums, count, rng("sums"), lambda e: not e.thinking),
        "sums with thinking": text_items(drills.sums, count, rng("thinking"), lambda e: e.thinking),
        "look up in a table": text_items(drills.echo, count, rng("table")),
        "questions about a text": text_items(dialogue.reading, count, rng("reading")),
        "chats that refer back": text_items(dialogue.recall, count, rng("recall")),
        "text tasks after 25 exchanges": behind(some_text_items(count, rng("25")), 25, rng("25 before")),
        "text tasks after 75 exchanges": behind(some_text_items(count, rng("75")), 75, rng("75 before")),
        "tools": text_items(dialogue.tool, count, rng("tool")),
        "greetings": text_items(dialogue.greeting, count, rng("greeting")),
        "questions about itself": text_items(dialogue.about, count, rng("about")),
        "what it does not know": text_items(dialogue.unknown, count, rng("unknown")),
    }
