from __future__ import annotations

from pathlib import Path

import pytest

from facekit.errors import DataError
from facekit.labels.listing import list_files


def test_files_of_a_folder_by_suffix(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", ".hidden.jpg", "c.txt", "d"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("b.jpg")
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    found = list_files(tmp_path, (".jpg", ".png"))
    assert [file.name for file in found] == ["a.PNG", "b.jpg", "link.jpg"]


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for name, reason in (("gone", "no such folder"), ("file", "is not a folder")):
        with pytest.raises(DataError) as caught:
            list_files(tmp_path / name, (".jpg",))
        assert str(caught.value) == f"{tmp_path / name}: {reason}"

    # Not by its mode, as the tests may run as root.
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError) as caught:
        list_files(tmp_path, (".jpg",))
    assert str(caught.value) == f"{tmp_path}: cannot be listed: Permission denied"
