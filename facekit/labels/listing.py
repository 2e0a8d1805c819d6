"""List the files of a folder by suffix, and tell which split of the data a photo belongs to."""

import hashlib
from collections.abc import Collection
from pathlib import Path

from facekit.errors import DataError

EVALUATION_MODULUS = 7
CALIBRATION_MODULUS = 14


def list_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return a folder's files with one of some suffixes (lower case) in any case, sorted by name.

    Hidden files and subfolders are left out. Raises DataError if the folder can't be listed.
    """
    try:
        return sorted(
            file
            for file in folder.iterdir()
            if file.suffix.lower() in suffixes and not file.name.startswith(".") and file.is_file()
        )
    except FileNotFoundError:
        raise DataError(folder, "no such folder") from None
    except NotADirectoryError:
        raise DataError(folder, "is not a folder") from None
    except OSError as error:
        raise DataError(folder, f"cannot be listed: {error.strerror or error}") from error


def stem_number(stem: str) -> int:
    """Return the SHA-1 of a file stem as one big integer.

    Bytes of a name that are not UTF-8 are hashed as they are (Python's surrogates).
    """
    data = stem.encode("utf-8", "surrogateescape")
    return int(hashlib.sha1(data, usedforsecurity=False).hexdigest(), 16)


def split_of(stem: str) -> str:
    """Return the split of the photo with a file stem, which its name alone decides.

    It is ``"evaluation"`` for one in seven, never trained on; ``"calibration"`` for one in
    fourteen, held out of training to tune thresholds; else ``"training"``.
    """
    number = stem_number(stem)
    if number % EVALUATION_MODULUS == 0:
        return "evaluation"
    return "calibration" if number % CALIBRATION_MODULUS == 1 else "training"
