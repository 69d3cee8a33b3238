"""A random walk over chats that share one engine, each reply compared with that of an engine that has read nothing.

Two chats take turns in one engine's cache. A step asks in words, with a picture or with a recording, asks for another
reply, rewords the last message, takes an exchange back, breaks a reply off, begins a chat anew, or ends the program:
then the chats come from the database again and another engine goes on.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np

from gemma_cli.core.conversation import Conversation
from gemma_cli.core.events import Turn, collect
from gemma_cli.core.messages import GREEDY, Audio, Drafting, Image, Part, Request, Sampling
from gemma_cli.engines.local.engine import LocalEngine
from gemma_cli.store.sessions import Session, SessionStore
from tests.engines.helpers.orders import anew

LONGEST = 900
"""Tokens after which a chat begins anew."""

STEPS = {"say": 4, "picture": 3, "recording": 2, "retry": 3, "reword": 3, "undo": 1, "break off": 3, "restart": 1}
"""How often each step is taken, in relation to the others."""

WORDS = ("hello, who are you?", "What is in it?", "The lamp is on the table. " * 9 + "Where is the lamp?")
"""Few, so that prompts often share a beginning."""


def _media() -> dict[str, list[Part]]:
    """Pictures of one size and recordings of one length: only what is in them tells them apart."""
    noise = np.random.default_rng(5)
    pictures = [noise.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(3)]
    sounds = [noise.normal(0, 0.1, 9000).astype(np.float32) for _ in range(2)]
    return {
        "picture": [Image(hashlib.sha256(one).hexdigest(), f"{n}.png", one) for n, one in enumerate(pictures)],
        "recording": [Audio(hashlib.sha256(one).hexdigest(), f"{n}.wav", one) for n, one in enumerate(sounds)],
    }


class Walk:
    """One walk, the same for the same seed. failures: a line for each reply that differs; log: the steps taken."""

    def __init__(self, engine: LocalEngine, folder: Path, seed: int) -> None:
        self.engine, self.path = anew(engine), folder / "sessions.db"
        self.random, self.media = Random(seed), _media()
        self.store = SessionStore.open(self.path)
        self.chats = [Conversation(), Conversation(system="Be brief.")]
        self.sessions: list[Session] = [self.store.new("one"), self.store.new("two")]
        self.log: list[str] = []
        self.failures: list[str] = []
        self.replies = 0

    def run(self, steps: int) -> None:
        """Take so many steps."""
        for _ in range(steps):
            number = self.random.randrange(2)
            (step,) = self.random.choices(list(STEPS), list(STEPS.values()))
            if (self.chats[number].used or 0) > LONGEST:
                self.chats[number] = self.chats[number].cleared()
            self.log.append(f"{step} in chat {number}")
            if step == "restart":
                self._restart()
            else:
                self._step(number, step)
        self.store.close()

    def _step(self, number: int, step: str) -> None:
        chat = self.chats[number]
        if not chat.entries or step in ("say", "picture", "recording"):
            for part in self.media.get(step, [])[:]:
                if self.random.random() < 0.5:
                    chat = chat.staging(part)
            chat = chat.saying(self.random.choice(WORDS))
        elif step == "undo":
            chat, _ = chat.without_exchange()
        elif step == "reword":
            chat = chat.rewriting()[0].saying(self.random.choice(WORDS))
        else:
            chat = chat.without_reply()
        if chat.entries:
            chat = self._replied(chat, cut=self.random.randint(1, 9) if step == "break off" else None)
        self.chats[number] = chat
        self.sessions[number].save(chat)

    def _replied(self, chat: Conversation, cut: int | None) -> Conversation:
        """Answer the last message. cut: events after which the reply is broken off."""
        sampling = self.random.choice([GREEDY, Sampling(seed=self.random.randrange(9)), Sampling(1.4, seed=1)])
        drafting = Drafting(self.random.randint(0, 8), adaptive=self.random.random() < 0.3)
        request = chat.request(replace(sampling, max_tokens=self.random.randint(1, 20)), drafting, thinking=False)
        with closing(self.engine.stream(request)) as events:
            turn = collect(islice(events, cut))
        self._compare(request, turn)
        return chat.hearing(turn, "pocket")

    def _compare(self, request: Request, found: Turn) -> None:
        """A reply that was broken off is the beginning of the other."""
        self.replies += 1
        wanted = collect(anew(self.engine).stream(replace(request, drafting=Drafting(0))))
        if found.finish_reason == "interrupted":
            same = wanted.text.startswith(found.text) and wanted.thinking.startswith(found.thinking)
        else:
            same = _facts(found) == _facts(wanted)
        if not same:
            self._fail(f"gives {_facts(found)}, a fresh engine {_facts(wanted)}")

    def _restart(self) -> None:
        """End the program and start it again."""
        self.store.close()
        self.engine, self.store = anew(self.engine), SessionStore.open(self.path)
        for number, name in enumerate(("one", "two")):
            before = self.chats[number]
            if before.entries:
                self.sessions[number], self.chats[number] = self.store.load(name)
                if (self.chats[number].entries, self.chats[number].system) != (before.entries, before.system):
                    self._fail(f"chat {number} is another one after the restart")
            else:
                self.sessions[number] = self.store.new(name)

    def _fail(self, failure: str) -> None:
        self.failures.append("\n".join([*self.log[-12:], failure]))


def _facts(turn: Turn) -> object:
    return turn.text, turn.thinking, turn.finish_reason, turn.usage
