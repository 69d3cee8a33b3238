"""Commands about attachments of the next message."""

from __future__ import annotations

from gemma_cli.common.attachments import Attachable
from gemma_cli.core.errors import UsageError
from gemma_cli.repl import clipboard
from gemma_cli.repl.chat import Chat
from gemma_cli.repl.line.paths import paths
from gemma_cli.repl.slash import shown
from gemma_cli.repl.slash.table import Action, SlashTable

table = SlashTable()


def _attacher(name: str, kind: Attachable | None) -> Action:
    def attach(chat: Chat, rest: str) -> None:
        if not rest:
            raise UsageError(f"/{name} needs a file: type /{name} FILE")
        chat.attach(paths(rest), kind)
        chat.tell(f"attached to the next message: {', '.join(chat.staged())}")

    return attach


table.add("attach", "FILE...", "attach files to the next message (also with @FILE in the message)")(
    _attacher("attach", None)
)
table.add("image", "FILE...", "attach pictures to the next message", "image")(_attacher("image", "image"))
table.add("audio", "FILE...", "attach sound to the next message", "audio")(_attacher("audio", "audio"))
table.add("video", "FILE...", "attach videos to the next message", "video")(_attacher("video", "video"))
table.add("read", "FILE...", "attach texts and PDFs to the next message")(_attacher("read", "text"))


@table.add("paste", "", "attach the picture in the clipboard to the next message (also with Ctrl+V)", "image")
def _paste(chat: Chat, rest: str) -> None:
    chat.stage(clipboard.picture())
    chat.tell(f"attached to the next message: {', '.join(chat.staged())}")


table.add("show", "[NUMBER]", "show thumbnails of the attached pictures, or of the pictures sent last", "image")(
    shown.show
)


@table.add("drop", "[NUMBER]", "remove all attachments from the next message, or only attachment NUMBER")
def _drop(chat: Chat, rest: str) -> None:
    try:
        chat.conversation = chat.conversation.dropping(int(rest) - 1 if rest else None)
    except (IndexError, ValueError):
        names = ", ".join(f"{number} {name}" for number, name in enumerate(chat.staged(), 1)) or "nothing"
        raise UsageError(f"/drop {rest}: attachment {rest} does not exist; attached: {names}") from None
    chat.tell(f"attached to the next message: {', '.join(chat.staged()) or 'nothing'}")
