"""The photos of a request: its body itself, the parts of a form, or base64 in JSON."""

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from facekit import limits
from facekit.contract import MAX_BATCH_SIZE
from facekit.gateway.problems import ProblemError
from facekit.photos import formats

MAX_PHOTOS = MAX_BATCH_SIZE
"""Photos of one request."""
FIELD = "photo"
"""Name of the part of a form, and of the member of JSON, that is a photo."""

# Of a longer body the parts are taken out in a thread: a megabyte of base64 takes two milliseconds.
_INLINE_BYTES = 64 * 1024
# Each text may be a data: URL, which has a comma.
_MOST_COMMAS = 2 * MAX_PHOTOS + 1


@dataclass(frozen=True)
class Photos:
    """The photos of one request.

    Attributes:
        each: The bytes of each, or why it can't be read or is no picture.
        several: Whether the answer is a list.
    """

    each: list[bytes | ProblemError]
    several: bool


async def read_photos(body: bytes, content_type: str, json_bytes: int) -> Photos:
    """Take the photos out of a body.

    What is neither a form nor JSON is a photo itself, whatever its type says: its first bytes tell.

    Raises:
        ProblemError: 400 for a form or JSON that can't be read or contains no photo, 413 for JSON
            of more than ``json_bytes``, 422 for too many photos or other parts than photos.
    """
    if not body:
        raise ProblemError(400, "the body is empty: expected a photo", reason="input")
    if len(body) <= _INLINE_BYTES:
        return _read(body, content_type, json_bytes)
    return await asyncio.to_thread(_read, body, content_type, json_bytes)


def _read(body: bytes, content_type: str, json_bytes: int) -> Photos:
    kind, options = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        parts = _form(body, options.get(b"boundary", b""))
        return Photos([_checked(each) for each in parts], len(parts) > 1)
    if kind == b"application/json" or kind.endswith(b"+json"):
        if len(body) > json_bytes:
            raise ProblemError(
                413,
                f"the body: {len(body):,} bytes of JSON are over the limit of {json_bytes:,}: send "
                "the photo itself, or a form",
                reason="size",
            )
        values, several = _json(body)
        return Photos([_checked(_decoded(each)) for each in values], several)
    return Photos([_checked(body)], False)


def _checked(photo: bytes | ProblemError) -> bytes | ProblemError:
    """Return a photo, or why it is none; what is within it is for the server to check."""
    if isinstance(photo, ProblemError):
        return photo
    if len(photo) > limits.MAX_PHOTO_BYTES:
        return ProblemError(
            413,
            f"the photo: {len(photo):,} bytes; the limit is {limits.MAX_PHOTO_BYTES:,}",
            reason="size",
        )
    head = photo[: formats.HEAD_BYTES]
    if not head.strip(b"\0") and not photo.strip(b"\0"):
        return ProblemError(422, formats.PADDING if photo else formats.EMPTY, reason="input")
    kind = formats.kind_of(head)
    # Many a text begins as a BMP does.
    if kind is None or (kind == "BMP" and not formats.is_photo(head)):
        return ProblemError(415, formats.name_format(photo), reason="format")
    return photo


def _form(body: bytes, boundary: bytes) -> list[bytes | ProblemError]:
    if not boundary:
        raise _unreadable("multipart/form-data without a boundary in Content-Type")
    form = _Form()
    try:
        MultipartParser(boundary, form.callbacks()).write(body)
    except FormParserError as error:
        raise _unreadable(f"the form: {error}") from None
    if not form.ended:
        raise _unreadable("the form ends before its last boundary, or has another one")
    if not form.parts:
        raise _unreadable(f"the form has no part {FIELD}")
    return [b"".join(part) for part in form.parts]


class _Form:
    """The parts of a form while they are read."""

    def __init__(self) -> None:
        self.parts: list[list[memoryview]] = []
        self.ended = False
        self._field = self._value = b""
        self._name: bytes | None = None

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_field,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._check,
            "on_part_data": self._add_data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._name = None
        self.parts.append([])
        _check_count(len(self.parts))

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        field, value = self._field.lower(), self._value
        self._field = self._value = b""
        if field == b"content-disposition":
            self._name = parse_options_header(value)[1].get(b"name")
        # RFC 7578 has done away with it.
        elif field == b"content-transfer-encoding" and value.strip().lower() not in _PLAIN:
            shown = value[:40].decode("latin-1")
            raise _unreadable(f"{self._part()}: Content-Transfer-Encoding {shown!r} is not read")

    def _check(self) -> None:
        if self._name is None:
            raise _unreadable(f"{self._part()} has no name: expected {FIELD}")
        if self._name != FIELD.encode():
            shown = self._name[:40].decode("utf-8", "replace")
            raise _unknown(f"{self._part()} is called {shown!r}: expected {FIELD}")

    def _part(self) -> str:
        return f"part {len(self.parts)} of the form"

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].append(memoryview(data)[start:end])

    def _end(self) -> None:
        self.ended = True


_PLAIN = (b"binary", b"8bit", b"7bit")
"""Encodings of a part that leave its bytes as they are."""


def _json(body: bytes) -> tuple[list[str], bool]:
    """Return the texts of a JSON body, and whether they came in a list."""
    # Before it is read: a list of millions of numbers would take a multiple of the body's memory.
    _check_count(body.count(b",") - _MOST_COMMAS + MAX_PHOTOS)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"the body is not JSON: {error}") from None
    if isinstance(value, dict):
        unknown = [name for name in value if name != FIELD]
        if unknown:
            raise _unknown(f"JSON: {unknown[0][:40]!r} is not known: expected {FIELD}")
        if FIELD not in value:
            raise _unknown(f"JSON: {FIELD} is missing")
        value = value[FIELD]
    elif not isinstance(value, list):
        raise _unknown(f'JSON: expected {{"{FIELD}": base64 text}} or a list of base64 texts')
    several = isinstance(value, list)
    values = value if several else [value]
    if not values:
        raise _unknown("JSON: the list contains no photos")
    _check_count(len(values))
    for number, each in enumerate(values, 1):
        if not isinstance(each, str):
            got = json.dumps(each)[:40]
            raise _unknown(f"JSON: photo {number}: expected base64 text, got {got}")
    return values, several


def _decoded(value: str) -> bytes | ProblemError:
    """Return what a base64 text stands for, which may be a ``data:`` URL of one."""
    if value[:5].lower() == "data:":
        head, comma, value = value.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            return _unreadable("JSON: a data: URL that is not of base64")
    if any(space in value for space in "\r\n"):  # as the program base64 wraps its lines
        value = value.replace("\r", "").replace("\n", "")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        return _unreadable(f"JSON: not base64: {error}")


def _check_count(count: int) -> None:
    if count > MAX_PHOTOS:
        raise ProblemError(
            422, f"more than {MAX_PHOTOS} photos, the limit of one request", reason="input"
        )


def _unreadable(detail: str) -> ProblemError:
    return ProblemError(400, detail, reason="malformed")


def _unknown(detail: str) -> ProblemError:
    return ProblemError(422, detail, reason="input")
