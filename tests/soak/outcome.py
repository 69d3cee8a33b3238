"""What a trial found."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """How many inputs a trial tried, a line for each that failed, and figures worth printing."""

    tried: int
    failures: list[str] = field(default_factory=list)
    figures: str = ""
