"""The system's microphone, through PortAudio (sounddevice, the extra `mic`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gemma_cli.core.errors import UsageError
from gemma_cli.media.sound.microphone_stream import Incoming

EXTRA = "pip install 'gemma-cli[mic]'"


def check_microphone() -> None:
    """Return the default input device. Raises UsageError if there is none."""
    _default(_library())


@contextmanager
def microphone(channel: int | None = None) -> Iterator[Incoming]:
    """Open the default input device at its own rate, for the duration of the block. channel: from 1; None: mono.

    It stops by itself when the device goes away. Raises UsageError where there is none, or it cannot be opened.
    """
    library = _library()
    device = _default(library)
    name = f"microphone ({device['name']})"
    if channel and channel > device["max_input_channels"]:
        raise UsageError(
            f"{name}: --channel {channel} does not exist; the microphone has {device['max_input_channels']} channels"
        )
    rate = round(device["default_samplerate"])
    incoming = Incoming(rate, name, channel)
    try:
        stream = library.InputStream(
            samplerate=rate,
            channels=channel or 1,
            dtype="float32",
            callback=lambda block, frames, time, status: incoming.give(block),
            finished_callback=incoming.stop,
        )
        with stream:
            yield incoming
    except library.PortAudioError as error:
        raise UsageError(
            f"{name}: the microphone cannot be opened ({_plain(error)}); close other programs that use the microphone"
        ) from None


def _library() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise UsageError(f"--mic needs sounddevice: {EXTRA}") from None
    except OSError:  # the package has PortAudio in it for macOS and Windows only
        raise UsageError("--mic needs PortAudio, which is not installed: apt install libportaudio2") from None
    return sounddevice


def _default(library: Any) -> dict[str, Any]:
    try:
        device: dict[str, Any] = library.query_devices(kind="input")
    except (library.PortAudioError, ValueError):
        raise UsageError("--mic: this machine has no microphone; connect a microphone, or transcribe a file") from None
    return device


def _plain(error: Exception) -> str:
    """PortAudio's own words: sounddevice puts its call and number around them."""
    return str(error.args[0]).partition(": ")[2].partition(" [")[0] or str(error)
