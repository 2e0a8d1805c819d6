"""A base class of context managers that close themselves."""

from abc import ABC, abstractmethod
from typing import TypeVar

Resource = TypeVar("Resource", bound="Closing")


class Closing(ABC):
    """A resource that is closed by ``close`` or at the end of a ``with`` block."""

    @abstractmethod
    def close(self) -> None:
        """Release the resource."""

    def __enter__(self: Resource) -> Resource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
