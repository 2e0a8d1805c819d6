"""Text on a sheet: fonts that have its letters, and lines that fit."""

from collections.abc import Iterator
from functools import lru_cache

from PIL import ImageFont

from facekit.draw import font

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_WIDER = "DejaVuSans.ttf"
"""For letters that the built-in font lacks; most systems have it, and Matplotlib brings it."""
_NONE = "\U0010ffff"
_CUT = "..."


def font_for(text: str, height_px: float) -> Font:
    """Return a font that has the letters of a text: the built-in one wherever it does."""
    if not _unknown(text, wide=False):
        return font(height_px)
    return _wide_font(height_px) or font(height_px)


def writable(text: str) -> str:
    """Return a text in one line, with ``?`` for letters that no font at hand has."""
    one_line = "".join(letter if letter.isprintable() else "?" for letter in text)
    unknown = _unknown(one_line, wide=bool(_unknown(one_line, wide=False)))
    return "".join("?" if letter in unknown else letter for letter in one_line)


def fitted(text: str, height_px: float, width_px: float) -> str:
    """Return a text shortened in its middle to a width."""
    letters = font_for(text, height_px)
    if letters.getlength(text) <= width_px:
        return text
    for kept in range(len(text) - 1, 1, -1):
        tail = kept * 2 // 3
        short = text[: kept - tail] + _CUT + text[len(text) - tail :]
        if letters.getlength(short) <= width_px:
            return short
    return _CUT


def smaller(text: str, height_px: float, width_px: float, least_px: float) -> float:
    """Return the height of letters, at least ``least_px``, at which a text has a width."""
    wide = font_for(text, height_px).getlength(text)
    return max(least_px, height_px * min(1.0, 0.98 * width_px / max(wide, 1.0)))


def wrapped(text: str, height_px: float, width_px: float, most: int) -> list[str]:
    """Return a text in at most ``most`` lines, broken between words; the last may be shortened."""
    words, lines = text.split(), [""]
    letters = font_for(text, height_px)
    for k, word in enumerate(words):
        longer = f"{lines[-1]} {word}".strip()
        if letters.getlength(longer) <= width_px or not lines[-1]:
            lines[-1] = longer
        elif len(lines) == most:
            lines[-1] = " ".join([lines[-1], *words[k:]])
            break
        else:
            lines.append(word)
    return [fitted(line, height_px, width_px) for line in lines]


def _unknown(text: str, *, wide: bool) -> set[str]:
    return {letter for letter in set(text) if not _knows(letter, wide)}


@lru_cache(maxsize=4096)
def _knows(letter: str, wide: bool) -> bool:
    if letter.isspace() or (letter.isascii() and letter.isprintable()):
        return True
    letters = _wide_font(32) if wide else font(32)
    if letters is None:
        return False
    return bytes(letters.getmask(letter)) != bytes(letters.getmask(_NONE))


@lru_cache(maxsize=16)
def _wide_font(height_px: float) -> ImageFont.FreeTypeFont | None:
    for path in _places():
        try:
            return ImageFont.truetype(path, height_px)
        except OSError:
            continue
    return None


def _places() -> Iterator[str]:
    yield _WIDER
    try:
        import matplotlib
    except ImportError:
        return
    yield f"{matplotlib.get_data_path()}/fonts/ttf/{_WIDER}"
