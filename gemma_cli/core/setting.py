"""A setting: its name, type, range and default, the commands that take it, and every way to set it."""

from __future__ import annotations

from gemma_cli.core.errors import UsageError
from gemma_cli.core.records import dataclass
from gemma_cli.core.setting_kinds import Kind, Switch, Value

MODEL = "Model"
SAMPLING = "Sampling"
OUTPUT = "Output"
CHAT = "Chats"
TOOLS = "Tools"
INPUT = "Options"

ENGINES = ("chat", "transcribe", "translate", "describe-image", "describe-video", "bench")
"""The commands that run a model."""
ANSWERS = ("chat", "describe-image", "describe-video")


@dataclass(frozen=True)
class Setting:
    """A value that can be set in several places, with the same range in each.

    name: the key in config.toml, in a preset and of /set. default: None where `unset` says what holds then.
    commands: those that take it. flags: its option. parameter: the name of the option's Python parameter.
    slash: the command that changes it in a chat. environment: whether there is a variable for it.
    files: whether values name files, which are then looked for beside config.toml when they stand there.
    """

    name: str
    kind: Kind
    help: str
    panel: str
    commands: tuple[str, ...]
    default: Value = None
    unset: str = ""
    flags: tuple[str, ...] = ()
    parameter: str = ""
    slash: str = ""
    environment: bool = True
    files: bool = False

    @property
    def variable(self) -> str | None:
        """The environment variable."""
        return f"GEMMA_{self.name.upper().replace('-', '_')}" if self.environment else None

    @property
    def options(self) -> tuple[str, ...]:
        """The option's flags as they are declared to Typer."""
        if isinstance(self.kind, Switch) and not self.flags:
            return (f"--{self.name}/--no-{self.name}",)
        return self.flags or (f"--{self.name}",)

    @property
    def field(self) -> str:
        """The name of the option's Python parameter."""
        return self.parameter or self.name.replace("-", "_")

    @property
    def default_text(self) -> str:
        """The default as documentation and `gemma config` show it."""
        return self.unset or self.kind.shown(self.default)

    def parse(self, text: str) -> Value:
        """The value that `text` stands for. Raises UsageError with the range."""
        try:
            return self.kind.parse(text)
        except ValueError:
            raise UsageError(f"'{text}': {self.takes}") from None

    def check(self, value: object) -> Value:
        """The value of a TOML value. Raises UsageError with the range."""
        try:
            return self.kind.check(value)
        except ValueError:
            raise UsageError(self.takes) from None

    @property
    def takes(self) -> str:
        """The range as a sentence."""
        return f"{self.name} takes {self.kind.takes}"
