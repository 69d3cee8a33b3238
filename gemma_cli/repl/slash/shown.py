"""What `/show` shows: the pictures that are staged, or else those of the last message that has any."""

from __future__ import annotations

from collections.abc import Sequence

from gemma_cli.core.conversation import part_name
from gemma_cli.core.errors import UsageError
from gemma_cli.core.messages import Image, Part, Video
from gemma_cli.repl.chat import Chat
from gemma_cli.views import picture


def show(chat: Chat, rest: str) -> None:
    """Print thumbnails; rest: which of them, by number. Raises UsageError."""
    parts = seen(chat)
    if not parts:
        raise UsageError("/show: this chat has no picture; to attach a picture, type /image FILE")
    if rest and not (rest.isdecimal() and 1 <= int(rest) <= len(parts)):
        names = ", ".join(f"{number} {part_name(part)}" for number, part in enumerate(parts, 1))
        raise UsageError(f"/show {rest}: picture {rest} does not exist; the pictures are {names}")
    for part in parts[int(rest) - 1 : int(rest)] if rest else parts:
        for image in frames(part):
            height, width, _ = image.pixels.shape
            chat.tell(f"{image.name}, {width} x {height}")
            picture.show(image.pixels, chat.out)


def seen(chat: Chat) -> Sequence[Image | Video]:
    """Return the pictures and videos that are staged, or those of the last message with any."""
    conversation = chat.conversation
    for parts in (conversation.staged, *(entry.message.parts for entry in reversed(conversation.entries))):
        if found := [part for part in parts if isinstance(part, Image | Video)]:
            return found
    return []


def frames(part: Part) -> Sequence[Image]:
    """Return what is shown of a picture or video: of a video its first, middle and last frame."""
    if isinstance(part, Image):
        return [part]
    if isinstance(part, Video):
        last = len(part.frames) - 1
        return [part.frames[number] for number in sorted({0, last // 2, last})]
    return []
