"""Speech from espeak-ng, called through its library: one process, no files, about 150 utterances a second."""

import ctypes
import ctypes.util
import random
from dataclasses import dataclass
from functools import cache

import numpy as np

SAMPLE_RATE = 22_050
"""espeak-ng synthesizes at this rate; the model hears 16 kHz."""

ACCENTS = {
    "en": ("gmw/en", "gmw/en-US", "gmw/en", "gmw/en-US", "gmw/en-GB-x-rp", "gmw/en-GB-scotland", "gmw/en-GB-x-gbclan",
           "gmw/en-GB-x-gbcwmd", "gmw/en-029", "gmw/en-US-nyc"),
    "de": ("gmw/de",),
    "fr": ("roa/fr",),
    "es": ("roa/es", "roa/es-419"),
}  # fmt: skip
"""espeak-ng's own voice names by language, the common ones twice. The library does not know the command's `en-gb`."""

TRAINING_VARIANTS = (
    "", "", "", "", "f1", "f2", "f3", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m8", "Alex", "Alicia", "Andrea",
    "Andy", "Denis", "Diogo", "Gene", "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "Tweaky", "adam", "anika",
    "announcer", "antonio", "aunty", "belinda", "benjamin", "caleb", "david", "ed", "edward", "grandma", "grandpa",
    "iven", "iven3", "john", "klatt", "klatt2", "klatt4", "linda", "max", "michel", "miguel", "norbert", "pablo",
    "paul", "pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "travis", "victor", "zac", "croak",
)  # fmt: skip
"""espeak-ng 1.51's variants heard in training; "" is a voice as it comes, heard more often than the others."""

HELD_OUT_VARIANTS = ("f4", "m7", "Annie", "steph2", "edward2", "klatt3", "iven2", "boris")
"""Variants never heard in training: every spoken figure of the model card is measured on these."""


@dataclass(frozen=True)
class Voice:
    """A speaker. rate in words a minute, pitch and pitch_range in espeak's 0..100, amplitude in 0..200."""

    name: str
    variant: str
    rate: int = 150
    pitch: int = 50
    pitch_range: int = 50
    amplitude: int = 100


def sample_voice(rng: random.Random, language: str, held_out: bool = False) -> Voice:
    """A random speaker of a language, from the held-out variants or from those heard in training."""
    return Voice(
        name=rng.choice(ACCENTS[language]),
        variant=rng.choice(HELD_OUT_VARIANTS if held_out else TRAINING_VARIANTS),
        rate=int(rng.triangular(105, 230, 155)),
        pitch=int(rng.triangular(15, 90, 50)),
        pitch_range=int(rng.triangular(10, 90, 50)),
        amplitude=100,
    )


_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4  # espeak_PARAMETER
_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: synthesize before returning, hand samples to the callback
_PHONEME_EVENTS = 1  # option of espeak_Initialize: `training.data.timed_speech` reads the events
_UTF8, _END_PAUSE = 1, 0x1000
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _Espeak:
    """The library, initialized once a process. It keeps its state in globals: not for several threads."""

    def __init__(self) -> None:
        path = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        self.library = ctypes.CDLL(path)
        self.chunks: list[np.ndarray] = []
        rate = self.library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)
        if rate != SAMPLE_RATE:
            raise RuntimeError(f"espeak-ng answers {rate} Hz, expected {SAMPLE_RATE}")
        self.callback = _CALLBACK(self._receive)  # held here: the library does not keep it alive
        self.library.espeak_SetSynthCallback(self.callback)
        self.library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self.voice = ""

    def _receive(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int | None) -> int:
        if samples and count > 0:
            self.chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def use(self, voice: Voice) -> None:
        name = f"{voice.name}+{voice.variant}" if voice.variant else voice.name
        if name != self.voice:
            if self.library.espeak_SetVoiceByName(name.encode()) != 0:
                raise ValueError(f"espeak-ng has no voice {name}")
            self.voice = name
        for parameter, value in (
            (_RATE, voice.rate),
            (_VOLUME, voice.amplitude),
            (_PITCH, voice.pitch),
            (_RANGE, voice.pitch_range),
        ):
            self.library.espeak_SetParameter(parameter, value, 0)


@cache
def _espeak() -> _Espeak:
    return _Espeak()


def say(text: str, voice: Voice) -> np.ndarray:
    """Synthesize a text: float32 samples in [-1, 1] at SAMPLE_RATE."""
    espeak = _espeak()
    espeak.use(voice)
    espeak.chunks.clear()
    encoded = text.encode()
    espeak.library.espeak_Synth(encoded, len(encoded) + 1, 0, 1, 0, _UTF8 | _END_PAUSE, None, None)
    if not espeak.chunks:
        return np.zeros(0, np.float32)
    return np.concatenate(espeak.chunks).astype(np.float32) / 32_768


def phonemes(text: str, voice: Voice) -> list[str]:
    """The text's phonemes as IPA letters, one word after another; stress, length and tie marks are left out."""
    espeak = _espeak()
    espeak.use(voice)
    pointer = ctypes.c_char_p(text.encode())
    spoken = []
    while pointer.value:
        clause = espeak.library.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, 0x02)
        spoken.append(clause.decode())
    return [letter for letter in " ".join(spoken) if letter.isalpha() and letter not in "ˈˌː"]
