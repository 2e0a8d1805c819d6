"""A server starts wherever its files lie: its backend processes get plain paths."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from facekit.cli import main
from facekit.client import Client
from facekit.data import probe_photo
from facekit.errors import SetupError
from facekit.serving import EmbeddedServer, StockServer, paths, runtime
from tests.serving.stock import stock_triton
from tests.serving.tiny import tiny_repository

NAMES = {
    "spaces": "My Passport",
    "quotes": 'o\'hara "$HOME" `id`',
    "letters": "josé 写真",
    "bytes": os.fsdecode(b"jos\xe9"),  # Latin-1
    "newline": "two\nlines",
    "colon": "a:b",
    "long": "/".join(["x" * 250] * 6),
}
ODD = 'josé\'s "My Passport"\n'
# Every character that is not plain at once.
ALL = " ".join(NAMES[kind] for kind in NAMES if kind != "long")

CODE = """
import sys
from facekit.client import Client
from facekit.data import probe_photo
from facekit.serving import EmbeddedServer

with EmbeddedServer(sys.argv[1]) as server, Client(server.grpc_url) as client:
    print(sys.prefix, EmbeddedServer.__module__, len(client.detect(probe_photo())))
"""


def serves(server: EmbeddedServer | StockServer) -> bool:
    with server, Client(server.grpc_url) as client:
        return len(client.detect(probe_photo())) == 2


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_folder_of_any_name_gets_a_plain_one(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir(parents=True)
    links = paths.Links(tmp_path / "links")

    assert not paths.is_plain(folder)
    assert paths.is_plain(links.plain(folder))
    assert links.plain(folder).samefile(folder)
    assert links.plain(tmp_path) == tmp_path


@pytest.mark.parametrize("name", [ALL, NAMES["long"]], ids=["all", "long"])
def test_server_starts_from_a_repository_and_temporary_folder_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    temporary = tmp_path / name / "tmp"
    temporary.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    assert serves(EmbeddedServer(tiny_repository(tmp_path / name / "models")))


def test_photos_and_outputs_may_lie_in_folders_of_any_name(
    tiny_server: EmbeddedServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES.values():
        folder = tmp_path / name
        photos = folder / "photos"
        photos.mkdir(parents=True)
        # Refused are a photo's name that is not text, which a dataset could not tell, and one
        # that leaves no room for ".faces".
        file = "photo" if name in (NAMES["bytes"], NAMES["long"]) else name
        (photos / f"{file}.jpg").write_bytes(probe_photo())
        on_server = [str(photos), "--url", tiny_server.grpc_url]
        written = [folder / "faces.json", folder / "drawn", folder / "coco.json"]

        options = [f"--json={written[0]}", f"--draw={written[1]}"]
        assert main(["detect", *on_server, *options]) == 0, capsys.readouterr()
        if name == NAMES["long"]:
            assert main(["annotate", *on_server, f"--coco={written[2]}"]) == 2
            assert "SQLite, which stores this file, takes 504" in capsys.readouterr().err
            # The photos may lie there, the output may not.
            written[2] = tmp_path / "coco.json"
        assert main(["annotate", *on_server, f"--coco={written[2]}"]) == 0, capsys.readouterr()
        assert all(path.exists() for path in written)


def test_native_server_starts_from_folders_of_any_name(tmp_path: Path) -> None:
    root = stock_triton(tmp_path / ODD / "tritonserver")

    assert serves(StockServer(tiny_repository(tmp_path / ODD / "models"), root=root))


def test_server_starts_from_an_environment_and_a_package_of_any_name(tmp_path: Path) -> None:
    odd = tmp_path / ODD
    odd.mkdir()
    (odd / "environment").symlink_to(sys.prefix)
    shutil.copytree(runtime.PACKAGE, odd / "clone" / "facekit")
    python = odd / "environment" / Path(sys.executable).relative_to(sys.prefix)
    environment = {**os.environ, "PYTHONPATH": str(odd / "clone"), "LC_ALL": "C"}

    done = subprocess.run(
        [python, "-c", CODE, str(tiny_repository(odd / "models"))],
        env=environment,
        cwd=odd,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.stdout.endswith(" facekit.serving.embedded 2\n"), done.stderr


def test_environment_of_links_runs_this_python_with_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a backend process does, with ASCII as its encoding.
    (tmp_path / ODD).symlink_to(sys.base_prefix)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / ODD))
    made = runtime.Runtime()
    try:
        python = Path(made.environment()["PATH"].split(":")[0]) / "python3"
        done = subprocess.run(
            [python, "-I", "-X", "utf8=0", "-c", "import sys, numpy; print(sys.version)"],
            env={"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert paths.is_plain(python)
        assert done.stdout == f"{sys.version}\n", done.stderr
    finally:
        made.remove()


def test_server_that_cannot_start_names_the_users_own_path(tmp_path: Path) -> None:
    repository = tiny_repository(tmp_path / "My Passport")
    model = repository / "faces" / "1" / "model.py"
    code = model.read_text("utf-8")
    check = "raise ValueError(f'{self.folder}/labels.txt is empty')"
    code = re.sub(r"raise ValueError.*", check, code).replace(
        'if (self.folder / "broken").exists()', "if True"
    )
    model.write_text(code, "utf-8")

    with pytest.raises(SetupError) as caught, EmbeddedServer(repository):
        pass

    assert f"{repository}/faces/labels.txt is empty" in str(caught.value)
    assert "facekit-server-" not in str(caught.value)


def test_run_folder_is_a_usual_one_where_tmpdir_will_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert paths.run_folder(executable=True) == tmp_path

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "My Passport"))
    (tmp_path / "My Passport").mkdir()
    folder = paths.run_folder(executable=True)
    assert folder in (Path("/tmp"), Path("/var/tmp"), Path("/run"), Path("/dev/shm"))
    assert os.access(folder, os.W_OK | os.X_OK)
    assert not os.statvfs(folder).f_flag & os.ST_NOEXEC


def test_run_folder_without_any_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *arguments: False)

    with pytest.raises(SetupError, match=r"none of .*/var/tmp.* is one. Set TMPDIR to one"):
        paths.run_folder(executable=True)
