"""The errors of a conversion."""

from collections.abc import Iterator

from facekit.errors import FacekitError


class ConversionError(FacekitError):
    """Root of all errors of a conversion."""


class CatalogError(ConversionError):
    """An entry of ``models.yaml``, or a choice of weights, is wrong."""


class ReleaseError(ConversionError):
    """These weights do not fit this TensorRT or this kind of machine."""


class FetchError(ConversionError):
    """A file could not be fetched; the message says which, from where, and what to do."""


class BuildError(ConversionError):
    """A tool made no engine, or one that does not load."""


class LockedError(ConversionError):
    """Another converter works on the same repository."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those inside it, outermost first, as HTTP libraries wrap them."""
    seen: list[BaseException] = []
    queue = [error]
    while queue:
        current = queue.pop(0)
        if current in seen:
            continue
        seen.append(current)
        yield current
        inner = (current.__cause__, current.__context__, getattr(current, "reason", None))
        queue += [each for each in (*inner, *current.args) if isinstance(each, BaseException)]
