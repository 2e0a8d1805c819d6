"""Name the kinds of JPEG that are not read, in the standard's terms."""

from __future__ import annotations

import struct

_KINDS = {
    0xC3: "a lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE), "a hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA), "an arithmetic-coded JPEG"),
    0xCB: "a lossless arithmetic-coded JPEG",
    0xF7: "a JPEG-LS picture",
}
_FRAMES = {0xC0, 0xC1, 0xC2, *_KINDS} - {0xDE}
_START_OF_SCAN, _HIERARCHICAL = 0xDA, 0xDE


def explain_unread_jpeg(raw: bytes, fault: str = "a JPEG with a broken header") -> str:
    """Say why a JPEG is not read.

    Args:
        raw: The file, or its first bytes.
        fault: What is wrong with it, if it is of no kind that is known and not read.
    """
    try:
        kind = _unread_kind(raw)
    except (IndexError, struct.error):
        kind = None
    if kind is None:
        return f"truncated or corrupt: {fault}"
    return f"{kind}, which can't be decoded: convert it to an 8-bit baseline or progressive JPEG"


def _unread_kind(raw: bytes) -> str | None:
    at = 2
    while raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _FRAMES:
            precision, height = struct.unpack_from(">BH", raw, at + 4)
            if precision != 8 and marker not in (0xC3, 0xCB, 0xF7):
                return f"a {precision}-bit JPEG"
            if height == 0:
                return "a JPEG whose height is only given by a DNL marker"
            return _KINDS.get(marker)
        if marker in (_START_OF_SCAN, _HIERARCHICAL):
            return _KINDS.get(marker)
        at += 2 + struct.unpack_from(">H", raw, at + 2)[0]
    return None
