"""The files that an engine is built from: downloaded, or copied from where somebody put them.

Both ways end in the layout that NGC's own command line leaves, in one folder for downloads::

    facenet_vpruned_quantized_v2.0.1/model.etlt
    tao-converter_v5.1.0_8.6.3.1_x86/tao-converter
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conversion.atomic import Say, folder_lock, mismatch, publish, writing
from conversion.catalog import RemoteFile, Weights
from conversion.errors import FetchError
from conversion.ngc import Artifact
from conversion.patience import Policy
from facekit.engines.manifest import sha256_of
from facekit.text import byte_count

if TYPE_CHECKING:
    from conversion.ngc_client import Ngc

TAO_CONVERTER = "tao-converter"
_EXECUTABLE = 0o755
_READABLE = 0o644
_LISTED = 20


@dataclass(frozen=True)
class Fetched:
    """Where a network and its INT8 calibration cache lie."""

    network: Path
    calibration: Path | None


def fetch_weights(
    weights: Weights, *, directory: Path, source: Path | None, key: str | None, say: Say
) -> Fetched:
    """Bring the files of some weights into the folder for downloads; do nothing where they are.

    Args:
        weights: which; those of a file of this machine are looked at and stay where they are.
        directory: the folder for downloads.
        source: a folder to copy from instead of downloading.
        key: the NGC key, where there is one.
        say: takes lines for people.

    Raises:
        FetchError: a file could not be had; it says which, from where, and what to do.
    """
    if weights.ngc is None:
        return _local(weights)
    artifact = Artifact.of(weights.ngc)
    names = [weights.network, *([weights.calibration] if weights.calibration else [])]
    known = {file.name: file for file in weights.ngc.files}
    files = [known.get(name, RemoteFile(name)) for name in names]
    folders = (weights.ngc.folder,)
    network, *rest = _bring(artifact, folders, files, directory, source, key, say, _READABLE)
    return Fetched(network, rest[0] if rest else None)


def fetch_tao_converter(
    version: str, *, directory: Path, source: Path | None, key: str | None, say: Say
) -> Path:
    """Bring NVIDIA's ``tao-converter`` into the folder for downloads, executable.

    Args:
        version: its version on NGC, such as ``v5.1.0_8.6.3.1_x86``.
        directory: the folder for downloads.
        source: a folder to copy from instead of downloading.
        key: the NGC key, where there is one.
        say: takes lines for people.

    Raises:
        FetchError: it could not be had; it says from where, and what to do.
    """
    artifact = Artifact("resources", "nvidia", "tao", TAO_CONVERTER, version)
    files = [RemoteFile(TAO_CONVERTER)]
    folders = _tao_converter_folders(version)
    path = _bring(artifact, folders, files, directory, source, key, say, _EXECUTABLE)[0]
    return find_tao_converter(version, directory) or path


def find_tao_converter(version: str, directory: Path) -> Path | None:
    """Return NVIDIA's ``tao-converter`` among the downloads, made executable; ``None`` without it.

    Raises:
        FetchError: it may not be run, and that can't be mended.
    """
    for folder in _tao_converter_folders(version):
        path = directory / folder / TAO_CONVERTER
        if not path.is_file() or not path.stat().st_size:
            continue
        if not os.access(path, os.X_OK):
            # A copy from a Windows share or out of an archive has lost it.
            try:
                path.chmod(_EXECUTABLE)
            except OSError as error:
                raise FetchError(
                    f"{path} is not executable: {error.strerror}. Run: chmod 755 {path}"
                ) from error
        return path
    return None


def _tao_converter_folders(version: str) -> tuple[str, ...]:
    # NGC's command line puts a "v" before every version, before one that has its own too.
    return f"{TAO_CONVERTER}_{version}", f"{TAO_CONVERTER}_v{version}"


def _local(weights: Weights) -> Fetched:
    """Return the files of this machine, once they are seen to be there."""
    assert weights.folder is not None
    paths = [
        weights.folder / name for name in (weights.network, weights.calibration) if name is not None
    ]
    for path in paths:
        label = f"{weights.model}={weights.name}"
        try:
            size = path.stat().st_size if path.is_file() else None
        except OSError as error:
            raise FetchError(f"{label}: {path} can't be read: {error.strerror}") from error
        if size is None:
            raise FetchError(
                f"{label}: {path} is no file; {_contents(path.parent)}. See `file` and "
                "`calibration` of these weights in the models file"
            )
        if size == 0:
            raise FetchError(f"{label}: {path} is empty")
    return Fetched(paths[0], paths[1] if len(paths) > 1 else None)


def _bring(
    artifact: Artifact,
    folders: Sequence[str],
    files: Sequence[RemoteFile],
    directory: Path,
    source: Path | None,
    key: str | None,
    say: Say,
    mode: int,
) -> list[Path]:
    """Return where the files of an artifact lie, once all are there."""
    targets = [_target(directory, folders, file.name) for file in files]
    if source is not None:
        found = _find(source, folders, files, artifact.label)
        for origin, target, file in zip(found, targets, files, strict=True):
            _copy(origin, target, file, f"{file.name} of {artifact.label}", mode, say)
        return targets
    # The plan looks for files with this module, and does without the library for the network.
    from conversion.download import download
    from conversion.ngc_client import Ngc

    ngc: Ngc | None = None
    policy = Policy()
    for target, file in zip(targets, files, strict=True):
        if _is_there(target, file, say):
            continue
        ngc = ngc or Ngc(key)
        remote = ngc.file(artifact, file.name)
        with writing(target, remote.error), folder_lock(target.parent, say):
            if _is_there(target, file, say):
                continue
            say(f"fetching {remote.label}")
            download(remote, target, file, policy, say, mode)
            say(f"{remote.label}: {byte_count(target.stat().st_size)}, complete")
    return targets


def _target(directory: Path, folders: Sequence[str], name: str) -> Path:
    """Return where a file shall lie: where it is, or in the first folder."""
    for folder in folders:
        if (directory / folder / name).exists():
            return directory / folder / name
    return directory / folders[0] / name


def _is_there(target: Path, expected: RemoteFile, say: Say) -> bool:
    """Tell whether a file need not be fetched again: it came whole, and is what is expected."""
    if not target.is_file():
        return False
    wrong = mismatch(target, expected)
    if wrong is not None:
        say(f"{target}: {wrong}; fetching it again")
    return wrong is None


def _find(
    source: Path, folders: Sequence[str], files: Sequence[RemoteFile], label: str
) -> list[Path]:
    """Return the files in a folder that somebody filled.

    One folder more or less, as a copy of a copy has, does no harm.

    Raises:
        FetchError: one is missing, or there are several and they differ.
    """
    if not source.is_dir():
        raise FetchError(f"{label}: --from {source} is no folder")
    found = []
    for file in files:
        paths = sorted(
            path
            for folder in folders
            for pattern in (f"{folder}/", f"*/{folder}/", f"{folder}/*/")
            for path in source.glob(f"{pattern}{file.name}")
            if path.is_file()
        )
        if not paths and source.name in folders and (source / file.name).is_file():
            paths = [source / file.name]
        if not paths:
            raise FetchError(
                f"{file.name} of {label}: looked for {source / folders[0] / file.name} (or one "
                f"folder deeper), but {_contents(source)}. Fetch it where there is internet: "
                f"ngc registry {_REGISTRY[file.name == TAO_CONVERTER]} download-version {label}"
            )
        if len({sha256_of(path) for path in paths}) > 1:
            listed = ", ".join(map(str, paths))
            raise FetchError(f"{file.name} of {label}: these differ, leave one of them: {listed}")
        found.append(paths[0])
    return found


_REGISTRY = ("model", "resource")


def _copy(
    origin: Path, target: Path, expected: RemoteFile, label: str, mode: int, say: Say
) -> None:
    """Copy a file to its place in one step, unless the same lies there."""

    def error(said: str, remedy: str) -> FetchError:
        return FetchError(f"{label}: {said}. {remedy}.")

    try:
        wrong = mismatch(origin, expected)
        digest = sha256_of(origin)
    except OSError as problem:
        raise FetchError(f"{label}: {origin} can't be read: {problem.strerror}") from problem
    if wrong is not None:
        raise error(f"{origin}: {wrong}", "Copy it there again, or fetch another version")
    with writing(target, error), folder_lock(target.parent, say):
        if target.is_file() and sha256_of(target) == digest:
            return
        part = target.with_name(target.name + ".part")
        # What a download left here is of no use to a copy, nor its notes.
        target.with_name(target.name + ".part.json").unlink(missing_ok=True)
        shutil.copyfile(origin, part)
        if sha256_of(part) != digest:
            raise error(f"{origin} changed while it was copied", "Run it again")
        publish(part, target, mode)
    say(f"{label}: copied from {origin}")


def _contents(folder: Path) -> str:
    """Say what lies in a folder."""
    try:
        names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    except OSError as error:
        return f"{folder} can't be listed: {error.strerror}"
    if not names:
        return f"{folder} is empty"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{folder} holds {', '.join(names[:_LISTED])}{more}"
