"""What a check found: one line, and under it the command that mends it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from conversion.errors import ConversionError


class State(str, Enum):
    """How a check ended; the value is what stands in front of its line."""

    OK = "ok"
    TODO = "todo"
    """Missing, and this command makes it by itself."""
    WARNING = "warn"
    FAILED = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One check's result.

    Attributes:
        about: what was checked, a word or two.
        state: how it ended.
        text: what there is, or what is wrong.
        remedy: what to do, a line each: a command where there is one.
    """

    about: str
    state: State
    text: str
    remedy: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the lines to print.

        >>> for line in Finding("disk", State.FAILED, "full", ("docker system df",)).lines():
        ...     print(line)
        FAIL  disk           full
                             -> docker system df
        """
        indent = " " * 21
        return [
            f"{self.state.value:<4}  {self.about:<14} {self.text}",
            *(f"{indent}-> {line}" for line in self.remedy),
        ]


class HostError(ConversionError):
    """The job can't be run; carries what was found, with the command that mends it."""

    def __init__(self, finding: Finding) -> None:
        super().__init__("\n".join(finding.lines()))
        self.finding = finding
