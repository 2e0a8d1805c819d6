"""The files that an engine is built from: downloaded, or copied from a folder.

Both ways end in the layout that NGC's own command line leaves, in one folder for downloads::

    facenet_vpruned_quantized_v2.0.1/model.etlt
    tao-converter_v5.1.0_8.6.3.1_x86/tao-converter
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conversion.catalog import RemoteFile, Weights
from conversion.commands import TAO_CONVERTER
from conversion.download import download, mismatch, writing_download
from conversion.errors import FetchError
from conversion.lock import converter_lock
from conversion.ngc import EXECUTABLE, Artifact, find_tao_converter, tao_converter_folders
from conversion.ngc_client import Ngc, NgcFile
from conversion.paths import Say
from facekit.engines.manifest import sha256_of
from facekit.files import publish
from facekit.text import byte_count

_READABLE = 0o644
_MAX_LISTED = 20


@dataclass(frozen=True)
class Fetcher:
    """Where files come from, and where they are put.

    ``source`` is a folder to copy from instead of downloading to ``directory``.
    """

    directory: Path
    source: Path | None
    key: str | None = field(repr=False)
    say: Say

    def weights(self, weights: Weights) -> Path:
        """Fetch the network and its calibration cache beside it, and return the network's file.

        A FetchError says which file can't be fetched, from where, and what to do.
        """
        if weights.ngc is None:
            return _local(weights)
        artifact, folders = Artifact.model(weights.ngc), [weights.ngc.folder]
        return self._fetch(artifact, folders, weights.files, _READABLE)[0]

    def tao_converter(self, version: str) -> Path:
        """Fetch NVIDIA's ``tao-converter`` of a version on NGC, and return it, executable.

        A FetchError says from where it can't be fetched, and what to do.
        """
        artifact, folders = Artifact.tao_converter(version), tao_converter_folders(version)
        (path,) = self._fetch(artifact, folders, {TAO_CONVERTER: RemoteFile()}, EXECUTABLE)
        return find_tao_converter(version, self.directory) or path

    def _fetch(
        self, artifact: Artifact, folders: Sequence[str], files: Mapping[str, RemoteFile], mode: int
    ) -> list[Path]:
        """Return where the files of an artifact are, once all are there."""
        targets = {name: _target(self.directory, folders, name) for name in files}
        if self.source is not None:
            found = _find(self.source, folders, files, artifact)
            for name, target in targets.items():
                label = f"{name} of {artifact.label}"
                self._copy(found[name], target, files[name], label, mode)
            return list(targets.values())
        ngc: Ngc | None = None
        for name, target in targets.items():
            if self._is_there(target, files[name]):
                continue
            ngc = ngc or Ngc(self.key)
            remote = NgcFile(ngc, artifact, name)
            with writing_download(target, remote.error):
                target.parent.mkdir(parents=True, exist_ok=True)
            with converter_lock(self.directory, wait=True, say=self.say):
                if self._is_there(target, files[name]):
                    continue
                self.say(f"fetching {remote.label}")
                download(remote, target, files[name], self.say, mode=mode)
                self.say(f"{remote.label}: {byte_count(target.stat().st_size)}, complete")
        return list(targets.values())

    def _is_there(self, target: Path, expected: RemoteFile) -> bool:
        """Return whether a file need not be fetched again: it is complete and as expected."""
        if not target.is_file():
            return False
        wrong = mismatch(target, expected)
        if wrong is not None:
            self.say(f"{target}: {wrong}; fetching it again")
        return wrong is None

    def _copy(
        self, origin: Path, target: Path, expected: RemoteFile, label: str, mode: int
    ) -> None:
        """Copy a file to its place in one step, unless the same file is there."""
        try:
            wrong = mismatch(origin, expected)
            digest = sha256_of(origin)
        except OSError as unreadable:
            reason = unreadable.strerror or unreadable
            raise FetchError(f"{label}: {origin} cannot be read: {reason}") from unreadable
        if wrong is not None:
            raise FetchError(
                f"{label}: {origin}: {wrong}. Copy it there again, or fetch another version"
            )
        if target.is_file() and sha256_of(target) == digest:
            return

        def error(reason: str, remedy: str) -> FetchError:
            return FetchError(f"{label}: {reason}. {remedy}.")

        with writing_download(target, error):
            target.parent.mkdir(parents=True, exist_ok=True)
            with converter_lock(self.directory, wait=True, say=self.say):
                part = target.with_name(target.name + ".part")
                # What a download left here is of no use to a copy, nor its notes.
                target.with_name(target.name + ".part.json").unlink(missing_ok=True)
                shutil.copyfile(origin, part)
                if sha256_of(part) != digest:
                    raise error(f"{origin} changed while it was copied", "Run it again")
                part.chmod(mode)
                publish(part, target)
        self.say(f"{label}: copied from {origin}")


def _local(weights: Weights) -> Path:
    """Return the network's file of this machine after checking its files."""
    assert weights.folder is not None
    label = f"{weights.model}={weights.name}"
    for path in (weights.folder / name for name in weights.files):
        try:
            size = path.stat().st_size if path.is_file() else None
        except OSError as error:
            raise FetchError(f"{label}: {path} cannot be read: {error.strerror}") from error
        if size is None:
            raise FetchError(
                f"{label}: {path} is not a file; {_contents(path.parent)}. See `file` and "
                "`calibration` of these weights in the models file"
            )
        if size == 0:
            raise FetchError(f"{label}: {path} is empty")
    return weights.folder / weights.network


def _target(directory: Path, folders: Sequence[str], name: str) -> Path:
    """Return where a file is to be: where it is already, or in the first folder."""
    paths = [directory / folder / name for folder in folders]
    return next((path for path in paths if path.exists()), paths[0])


def _find(
    source: Path, folders: Sequence[str], names: Mapping[str, RemoteFile], artifact: Artifact
) -> dict[str, Path]:
    """Return the files in a folder that somebody filled, at most one folder deeper or higher."""
    found = {}
    for name in names:
        paths = sorted(
            path
            for folder in folders
            for pattern in (f"{folder}/", f"*/{folder}/", f"{folder}/*/")
            for path in source.glob(f"{pattern}{name}")
            if path.is_file()
        )
        if not paths and source.name in folders and (source / name).is_file():
            paths = [source / name]
        if not paths:
            raise FetchError(
                f"{name} of {artifact.label}: looked for {source / folders[0] / name} (or one "
                f"folder deeper), but {_contents(source)}. Fetch it where there is internet: "
                f"ngc registry {artifact.kind.removesuffix('s')} download-version {artifact.label}"
            )
        if len({sha256_of(path) for path in paths}) > 1:
            different = ", ".join(map(str, paths))
            raise FetchError(
                f"{name} of {artifact.label}: these differ, leave one of them: {different}"
            )
        found[name] = paths[0]
    return found


def _contents(folder: Path) -> str:
    """Say what a folder contains."""
    try:
        names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    except OSError as error:
        return f"{folder} can't be listed: {error.strerror}"
    if not names:
        return f"{folder} is empty"
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"{folder} contains {', '.join(names[:_MAX_LISTED])}{more}"
