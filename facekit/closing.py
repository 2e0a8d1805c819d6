"""What ``with`` closes at its end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

Resource = TypeVar("Resource", bound="Closing")


class Closing(ABC):
    """Something that is closed after use, by ``close`` or at the end of a ``with`` block."""

    @abstractmethod
    def close(self) -> None:
        """Give back what is held."""

    def __enter__(self: Resource) -> Resource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
