"""Tensors of KServe's protocol: their values as JSON lists, and as the bytes that gRPC carries."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from facekit.gateway.problems import ProblemError

# Little-endian, as everything that Triton's protocol carries.
_NUMBERS = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
# As in Triton, these have no JSON form.
_BINARY_ONLY = {"FP16": 2, "BF16": 2}
_TEXT = "BYTES"
# A BYTES value is its length, and then itself.
_LENGTH_BYTES = 4

ITEM_BYTES = {name: kind.itemsize for name, kind in _NUMBERS.items()} | _BINARY_ONLY
"""Bytes of one value by data type, other than BYTES."""

_WHOLE: tuple[set[type], str] = ({int}, "whole numbers")
_JSON_TYPES: dict[str, tuple[set[type], str]] = {
    "b": ({bool}, "true or false"),
    "i": _WHOLE,
    "u": _WHOLE,
    "f": ({int, float}, "numbers"),
}
"""Types of JSON's values, and what they are called, by the kind of a data type."""

_MOST_DIMS = 32
_LARGEST_DIM = 2**31 - 1


def refused(detail: str) -> ProblemError:
    """Return the error for a request that says something wrong."""
    return ProblemError(400, detail, reason="input")


def shown(value: Any) -> str:
    """Return a value of a request's JSON for a message, shortened."""
    if isinstance(value, list | dict) and len(value) > 8:
        return f"a list of {len(value):,}" if isinstance(value, list) else "an object"
    return repr(value[:40] if isinstance(value, str) else value)[:80]


def check_shape(where: str, datatype: Any, shape: Any) -> None:
    """Check a tensor's data type and shape, whose sizes may be 0.

    Raises ProblemError (400), which begins with ``where``, for what Triton does not know.
    """
    if not isinstance(datatype, str) or (datatype not in ITEM_BYTES and datatype != _TEXT):
        known = ", ".join([*ITEM_BYTES, _TEXT])
        raise refused(f"{where}: datatype: expected one of {known}; got {shown(datatype)}")
    sizes = isinstance(shape, list) and len(shape) <= _MOST_DIMS
    if not sizes or not all(type(dim) is int and 0 <= dim <= _LARGEST_DIM for dim in shape):
        raise refused(
            f"{where}: shape: expected a list of at most {_MOST_DIMS} whole numbers from 0 to "
            f"{_LARGEST_DIM}, got {shown(shape)}"
        )


def check_size(where: str, datatype: str, shape: Sequence[int], size: int) -> None:
    """Check that ``size`` bytes are what a tensor of this shape has.

    Raises ProblemError (400).
    """
    count = math.prod(shape)
    if datatype == _TEXT:
        if size < _LENGTH_BYTES * count:
            raise refused(
                f"{where}: shape {list(shape)} of BYTES takes at least {_LENGTH_BYTES * count:,} "
                f"bytes, got {size:,}"
            )
    elif size != count * ITEM_BYTES[datatype]:
        raise refused(
            f"{where}: shape {list(shape)} of {datatype} takes {count * ITEM_BYTES[datatype]:,} "
            f"bytes, got {size:,}"
        )


def bytes_of(where: str, datatype: str, shape: Sequence[int], data: Any) -> bytes:
    """Return the bytes of values that came as JSON: a list, flat or of lists.

    Raises ProblemError (400) for another number of values than the shape has, a value of another
    kind or outside the data type's range, and a data type that has no JSON form.
    """
    if datatype in _BINARY_ONLY:
        raise refused(
            f"{where}: {datatype} values have no JSON form; send them in binary form, with the "
            "parameter binary_data_size"
        )
    values = _flat(where, data)
    count = math.prod(shape)
    if len(values) != count:
        raise refused(f"{where}: shape {list(shape)} takes {count:,} values, got {len(values):,}")
    if not values:
        return b""
    return _text(where, values) if datatype == _TEXT else _numbers(where, datatype, values)


def values_of(where: str, datatype: str, data: bytes) -> list[Any]:
    """Return the values of bytes as a flat list for JSON.

    Raises ProblemError (400) for values that have no JSON form.
    """
    if datatype in _NUMBERS:
        numbers: list[Any] = np.frombuffer(data, _NUMBERS[datatype]).tolist()
        return numbers
    if datatype != _TEXT:
        raise refused(
            f"{where}: {datatype} values have no JSON form; ask for them with the parameter "
            "binary_data"
        )
    values, at = [], 0
    try:
        while at < len(data):
            start = at + _LENGTH_BYTES
            at = start + int.from_bytes(data[at:start], "little")
            values.append(data[start:at].decode("utf-8"))
    except UnicodeDecodeError:
        raise refused(
            f"{where}: value {len(values)} is not UTF-8; ask for it with the parameter binary_data"
        ) from None
    return values


def _flat(where: str, data: Any) -> list[Any]:
    """Return the values of nested lists; levels that do not match are refused."""
    if not isinstance(data, list):
        raise refused(f"{where}: data: expected a list, got {shown(data)}")
    values, depth = data, 1
    while values and type(values[0]) is list:
        depth += 1
        if depth > _MOST_DIMS or set(map(type, values)) != {list}:
            raise refused(f"{where}: data: expected values, or lists of one depth")
        values = list(chain.from_iterable(values))
    return values


def _numbers(where: str, datatype: str, values: list[Any]) -> bytes:
    dtype = _NUMBERS[datatype]
    kinds, known = _JSON_TYPES[dtype.kind]
    if not kinds.issuperset(map(type, values)):
        wrong = next(k for k, value in enumerate(values) if type(value) not in kinds)
        raise refused(
            f"{where}: expected {known} for {datatype}; value {wrong} is {shown(values[wrong])}"
        )
    least, most = _range(dtype)
    # Compared as Python's own numbers, which do not overflow.
    if not least <= min(values) <= max(values) <= most:
        wrong = next(k for k, value in enumerate(values) if not least <= value <= most)
        raise refused(
            f"{where}: {datatype} goes from {least} to {most}; value {wrong} is "
            f"{shown(values[wrong])}"
        )
    return np.array(values, dtype).tobytes()


def _range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return a data type's least and largest value, as Python's own numbers."""
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind == "f":
        most = float(np.finfo(dtype.type).max)
        return -most, most
    info = np.iinfo(dtype.type)
    return int(info.min), int(info.max)


def _text(where: str, values: list[Any]) -> bytes:
    if set(map(type, values)) != {str}:
        wrong = next(k for k, value in enumerate(values) if type(value) is not str)
        raise refused(f"{where}: expected texts for BYTES; value {wrong} is {shown(values[wrong])}")
    try:
        texts = [value.encode() for value in values]
    except UnicodeEncodeError:
        raise refused(f"{where}: a text holds half of a surrogate pair") from None
    return b"".join(chain.from_iterable((len(t).to_bytes(4, "little"), t) for t in texts))
