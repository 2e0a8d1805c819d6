"""Walk all segments of a JPEG to know that every decoder will take it, and that it is whole.

Decoders disagree about odd JPEGs: lossless or arithmetic coding, missing tables, two frames, scans
in a wrong order. What is not plainly in order is decoded by Pillow instead of being handed to DALI,
so that no odd file can fail a batch of others. The picture data between the segments are only
searched for markers. Phones and programs append further pictures, a film or notes to a JPEG.
"""

from __future__ import annotations

import io
import re
import struct
import threading
import zlib

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from facekit import limits
from facekit.errors import PhotoError
from facekit.photos.blocks import MARKER, MOST_BLOCKS, Bytes, essential_jpeg
from facekit.photos.jpeg_coding import DHT, DQT, DRI, FRAMES, SOS, JpegCoding, OddJpegError

_APP1, _APP14, _DNL, _END = 0xE1, 0xEE, 0xDC, 0xD9
_TABLES_AND_NOTES = {DHT, DQT, DRI, 0xFE, *range(0xE0, 0xF0)}
_CUT_OFF = "truncated JPEG: its data end before the picture does"
_EXIF = b"Exif\0\0"
_FIRST_RESTART = 0xD0
_FILLING = re.compile(rb"\xff*")
_LEAST_LEAP = 1 << 12
_LEAP = 1 << 18  # bytes, whose mask stays in a core's own cache


class _Scratch(threading.local):
    """Memory that is written for every photo: fresh memory would take longer than the search."""

    def __init__(self) -> None:
        self.mask = np.empty(_LEAP, bool)


_scratch = _Scratch()


def read_whole_jpeg(raw: memoryview) -> tuple[memoryview, JpegStructure]:
    """Return a JPEG, with the end-of-image marker supplied where it alone is missing.

    Some programs drop the marker, and Samsung's panoramas have their trailer in its place. Raises
    OddJpegError if it is something else than one frame of Huffman-coded 8-bit gray or three-color
    pixels with all its tables, which is what every decoder reads, and PhotoError if picture data
    are missing, or there are too many scans or pixels of a progressive JPEG.
    """
    limit = end_of_file(raw)
    structure = read_structure(raw, limit)
    end = structure.end
    if structure.has_end:
        # A marker in an unknown trailer may stand behind a picture that was cut off.
        if is_known_trailer(raw, end, limit) or has_all_data(
            bytes(raw[: end - 2]), coarse=structure.scans == 1
        ):
            return raw, structure
        raise PhotoError(_CUT_OFF)
    if structure.has_all_scans and has_all_data(bytes(raw[:end])):
        return memoryview(bytearray(raw[:end]) + b"\xff\xd9"), structure
    if structure.stop is not None:
        raise PhotoError(
            f"truncated or corrupt JPEG: marker 0xFF{structure.stop:02X} in its picture data"
        )
    raise PhotoError("truncated JPEG: no end-of-image marker")


def read_structure(raw: Bytes, limit: int | None = None) -> JpegStructure:
    """Walk the segments of a JPEG up to its end-of-image marker, or to the offset ``limit``.

    Raises OddJpegError as :func:`read_whole_jpeg` does, and PhotoError if the last scan lacks
    restart markers at its end, and so the data between them, or a progressive JPEG has too many
    pixels, or any too many scans.
    """
    structure = JpegStructure(raw, len(raw) if limit is None else limit)
    try:
        structure.read_header()
    except (IndexError, struct.error) as error:
        raise OddJpegError("the header ends too early") from error
    try:
        while structure.read_scan():
            pass
    except (IndexError, struct.error, OddJpegError) as error:
        # Behind a whole picture anything may stand.
        if not structure.has_all_scans:
            raise OddJpegError(str(error)) from error
    return structure


class JpegStructure:
    """Where the parts of a JPEG stand, as far as its segments were read.

    Attributes:
        scan_start: Offset of the first scan's picture data.
        components: 1 for gray, 3 for color.
        adobe_transform: What Adobe's segment says of how colors are stored: 1 for luma and chroma;
            None without one.
        exif_starts: Offsets of every ``Exif`` block's name.
        end: Offset behind the end-of-image marker; without one, behind the last scan's data.
        has_all_scans: Whether every bit of every coefficient has its scan, and the last scan its
            restart markers.
        stop: Marker at ``end`` that has no place there; None at the end of the file.
    """

    def __init__(self, raw: Bytes, limit: int) -> None:
        self.scan_start = self.scans = self.components = self.end = 0
        self.adobe_transform: int | None = None
        self.exif_starts: list[int] = []
        self.has_end = self.has_all_scans = False
        self.stop: int | None = None
        self._raw = raw
        self._limit = limit
        self._coding = JpegCoding()
        self._at = 2
        self._tables = 0

    def read_header(self) -> None:
        """Read all segments in front of the first scan."""
        while (marker := self._read_marker()) != SOS:
            if marker not in FRAMES | _TABLES_AND_NOTES:
                raise OddJpegError(f"marker 0xFF{marker:02X} before the first scan")
            self._read_table(marker)

    def read_scan(self) -> bool:
        """Read a scan and the segments behind it; return whether another scan follows."""
        count = self._coding.read_scan(self._read_segment())
        expected = bytes(_FIRST_RESTART + k % 8 for k in range(count))
        self.scan_start = self.scan_start or self._at
        self.components = self._coding.components
        self.scans += 1
        limits.check_scans(self.scans)
        restarts = self._skip_data(count)
        in_order = restarts == expected
        self.end = self._at
        self.has_all_scans = in_order and self._coding.is_complete
        while self._at < self._limit:
            marker = self._read_marker()
            if marker not in _TABLES_AND_NOTES | {SOS, _DNL, _END}:
                self.stop = marker
                return False
            if marker == _END and not in_order and expected.startswith(restarts):
                raise PhotoError(_CUT_OFF)
            if not in_order:
                raise OddJpegError("restart markers that are not in order")
            if marker == SOS:
                return True
            if marker == _DNL:
                raise OddJpegError("a height that is given twice")
            if marker == _END:
                if not self._coding.is_begun:
                    raise OddJpegError("a component without a scan")
                self.end, self.has_end = self._at, True
                return False
            self._read_table(marker)
        return False

    def _read_marker(self) -> int:
        """Read a marker and stand behind it."""
        start = self._at
        filling = _FILLING.match(self._raw, start)
        self._at = filling.end() if filling else start
        if self._at == start or self._at >= self._limit:
            raise OddJpegError("bytes between segments")
        self._at += 1
        return self._raw[self._at - 1]

    def _read_segment(self) -> bytes:
        """Read what belongs to the marker in front, and stand behind it."""
        (length,) = struct.unpack_from(">H", self._raw, self._at)
        start, self._at = self._at + 2, self._at + length
        if length < 2 or self._at > self._limit:
            raise OddJpegError("a segment ends too early")
        return bytes(self._raw[start : self._at])

    def _read_table(self, marker: int) -> None:
        self._tables += 1
        if self._tables > MOST_BLOCKS:
            raise OddJpegError("too many segments")
        start = self._at + 2
        body = self._read_segment()
        if marker == _APP1 and body.startswith(_EXIF):
            self.exif_starts.append(start)
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            self.adobe_transform = body[11]
        self._coding.read(marker, body)

    def _skip_data(self, restarts: int) -> bytes:
        """Stand at the marker behind a scan's data, and return the restart markers within.

        Raises OddJpegError if they are more than there may be.
        """
        start = self._leap()
        codes = bytearray()
        self._at = self._limit
        for found in MARKER.finditer(self._raw, start, self._limit):
            code = self._raw[found.start() + 1]
            if code & 0xF8 != _FIRST_RESTART:
                self._at = found.start()
                break
            codes.append(code)
            if len(codes) > restarts:
                raise OddJpegError("too many restart markers")
        return bytes(codes)

    def _leap(self) -> int:
        """Return an offset in front of which a scan's data have no marker.

        NumPy finds the first one in a third of the time that the search takes, but begins later.
        """
        data, start = np.frombuffer(self._raw, np.uint8), self._at
        while self._limit - start > _LEAST_LEAP:
            block = data[start : min(start + _LEAP + 1, self._limit)]
            length = len(block) - 1
            marked = np.equal(block[:-1], 0xFF, out=_scratch.mask[:length])
            followed = marked.view(np.uint8)
            found = np.minimum(followed, block[1:], out=followed).view(bool)
            first = int(found.argmax())
            if found[first]:
                return start + first
            start += length
        return start


_END_OF_IMAGE = b"\xff\xd9"
_STRIP_HEIGHT = 256
_BLOCK = 1 << 16
"""Bytes read at a time; a directory of Samsung's takes some hundreds."""


def end_of_file(raw: Bytes) -> int:
    """Return the offset at which padding or a trailer of Samsung's begins.

    The trailer is a row of blocks, then a directory from ``SEFH`` on with a distance back to every
    block, then the directory's length and ``SEFT``. One zero of the padding is left, which may
    belong to the picture data.
    """
    end = _end_of_content(raw, len(raw))
    directory = _start_of_directory(raw, end)
    if directory < 0:
        return min(end + 1, len(raw))
    start = directory
    count = int.from_bytes(raw[directory + 8 : directory + 12], "little")
    entries = bytes(raw[directory + 12 : end - 8])
    if len(entries) == 12 * count > 0:
        farthest: int = max(distance for _, distance, _ in struct.iter_unpack("<III", entries))
        if farthest < directory:
            start = directory - farthest
    return min(_end_of_content(raw, start) + 1, start)


def _end_of_content(raw: Bytes, end: int) -> int:
    """Return the offset behind the last byte in front of ``end`` that is not zero."""
    while end > 0:
        start = max(0, end - (_BLOCK if raw[end - 1] == 0 else 1))
        content = bytes(raw[start:end]).rstrip(b"\0")
        if content:
            return start + len(content)
        end = start
    return 0


def _start_of_directory(raw: Bytes, end: int) -> int:
    """Return the offset of the directory of a trailer of Samsung's, or -1."""
    if bytes(raw[max(end - 4, 0) : end]) != b"SEFT":
        return -1
    start = max(0, end - _BLOCK)
    found = bytes(raw[start:end]).rfind(b"SEFH")
    return start + found if found >= 0 else -1


def is_known_trailer(raw: Bytes, start: int, end: int) -> bool:
    """Tell whether bytes behind an end-of-image marker prove that it is the picture's own.

    Padding does, another JPEG (of a multi-picture file) and a film (of a motion photo).
    """
    head = b""
    while start < end and not head:
        block_end = min(start + _BLOCK, end)
        start = block_end - len(bytes(raw[start:block_end]).lstrip(b"\0"))
        head = bytes(raw[start : min(start + 16, end)]) if start < block_end else b""
    return not head or head.startswith(b"\xff\xd8\xff") or b"ftyp" in head


def has_all_data(jpeg: bytes, *, coarse: bool = False) -> bool:
    """Tell whether a JPEG's last scan needs no more bytes than there are, by decoding it thrice.

    The end-of-image marker is not part of ``jpeg``. With ``coarse``, only the averages of its
    blocks are compared, in an eighth of the time; that tells nothing of a scan without averages.
    """
    # Pillow hides what libjpeg only warns of. But bytes behind a whole scan change nothing, while a
    # scan that lacks some is decoded from what stands in their place.
    noise = np.random.default_rng(0).integers(0, 255, 64, np.uint8).tobytes()
    jpeg = essential_jpeg(jpeg)
    try:
        pictures = {
            _checksum(jpeg + filler + _END_OF_IMAGE, coarse)
            for filler in (bytes(64), b"\xfe" * 64, noise)
        }
    except Exception:  # Pillow raises errors of many kinds; whichever it is, there is no picture
        return False
    return len(pictures) == 1


def _checksum(jpeg: bytes, coarse: bool) -> int:
    checksum = 0
    # Not Image.open, which has a limit of pixels of its own.
    image = JpegImageFile(io.BytesIO(jpeg))
    if coarse:
        image.draft("L", (image.width // 8, image.height // 8))
    image.load()
    # Strip by strip, or the largest photos would lie in memory twice.
    for top in range(0, image.height, _STRIP_HEIGHT):
        bottom = min(top + _STRIP_HEIGHT, image.height)
        checksum = zlib.crc32(image.crop((0, top, image.width, bottom)).tobytes(), checksum)
    return checksum
