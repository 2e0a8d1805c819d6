from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples import demo
from facekit.data import portraits, probe_photo
from tests.fake_triton import FakeTriton, faces_answer


def sized_answer(width: int, height: int) -> dict[str, np.ndarray]:
    outputs = faces_answer(1)
    outputs["image_size"] = np.array([[height, width, 3]], np.int64)
    return outputs


def test_demo_photos_are_two_portraits_and_a_group_of_them(tmp_path: Path) -> None:
    paths = portraits.demo_photos(tmp_path)
    assert [path.name for path in paths] == ["astronaut.png", "grace_hopper.jpg", "group.jpg"]
    sizes = []
    for path in paths:
        with Image.open(path) as image:
            sizes.append(image.size)
    assert sizes == [(512, 512), (512, 600), (1280, 840)]
    assert portraits.demo_photos(tmp_path) == paths


@pytest.mark.parametrize("name", ["astronaut.png", "group.jpg", "faces.json"])
def test_demo_replaces_no_file_of_others(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(probe_photo())
    assert demo.main(["--output", str(tmp_path), "--url", "127.0.0.1:1"]) == 2
    assert f"{name}: exists and was not written by facekit" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == probe_photo()


def test_demo_photos_without_the_packages_are_the_built_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portraits, "_PORTRAITS", (("x", "no_such_package", "x.png", (0, 0, 1, 1)),))
    [path] = portraits.demo_photos(tmp_path)
    assert path.read_bytes() == probe_photo()


def test_demo_writes_pictures_and_json_and_prints_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "me.jpg"
    photo.write_bytes(probe_photo())
    output = tmp_path / "out"
    with FakeTriton(lambda *_: sized_answer(360, 300)) as fake:
        argv = [str(photo), "--output", str(output), "--url", fake.url]
        assert demo.main(argv) == 0
        assert demo.main([*argv, str(tmp_path / "missing.jpg")]) == 1
    assert sorted(p.name for p in output.iterdir()) == ["faces.json", "me.faces.jpg"]
    good, bad = json.loads((output / "faces.json").read_text("utf-8"))["photos"]
    assert good["drawing"] == str(output / "me.faces.jpg") and len(good["faces"]) == 1
    assert "No such file" in bad["error"]["message"]
    assert f"Pictures and faces.json are in {output}" in capsys.readouterr().out


def test_demo_that_cannot_start_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeTriton() as gone:
        pass
    assert demo.main(["--output", str(tmp_path), "--url", gone.url]) == 2
    assert "demo: no server is ready" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert demo.main(["--output", str(tmp_path / "file" / "x"), "--url", "localhost:1"]) == 2
    assert "Not a directory" in capsys.readouterr().err


def test_demo_that_is_interrupted_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupt)
    code = None
    with contextlib.suppress(KeyboardInterrupt):  # It would end the whole test run.
        code = demo.main(["--output", str(tmp_path)])
    assert code == 130
    assert capsys.readouterr() == ("", "demo: stopped\n")
