"""``facekit evaluate`` against the real server, on a portrait whose labels were read by eye."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from facekit.cli import main
from facekit.serving.embedded import EmbeddedServer

# Read off the photo enlarged six times: ends and middle of the jaw, the eyes' corners, the mouth's.
ASTRONAUT = {
    0: (183, 105), 8: (222, 177), 16: (269, 107),
    36: (194, 100), 39: (212, 103), 42: (237, 104), 45: (257, 103),
    48: (204, 141), 54: (244, 141),
}  # fmt: skip


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    folder = tmp_path / "portraits"
    folder.mkdir()
    Image.fromarray(skimage.data.astronaut()).save(folder / "astronaut.png")
    points = [ASTRONAUT.get(index, ("nan", "nan")) for index in range(68)]
    body = "".join(f"{x} {y}\n" for x, y in points)
    (folder / "astronaut_1.pts").write_text(f"version: 1\nn_points: 68\n{{\n{body}}}\n")
    return folder


def test_a_portrait_is_found_with_its_landmarks(
    server: EmbeddedServer, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scores.json"
    argv = ["evaluate", "--labels", str(portrait), "--url", server.grpc_url, "--json", str(path)]
    assert main([*argv, "--model", "faces", "--model", "facenet_ensemble"]) == 0
    values = json.loads(path.read_text("utf-8"))
    faces, boxes = values["servers"]
    for served in (faces, boxes):
        (row,) = served["classes"]
        assert (row["faces"], row["recall"], row["average_precision"]) == (1, 1, 1)
    assert boxes["landmarks"] is None
    assert faces["landmarks"]["missed"] == 0
    regions = faces["landmarks"]["by_region"]
    assert regions["eyes"]["eye_share"] < 0.05
    assert regions["mouth"]["eye_share"] < 0.05
    # Nothing of the nose was labeled.
    assert regions["nose"]["crop_pixels"] is None
    assert "any face" in capsys.readouterr().out


def test_a_portrait_that_is_stored_turned_scores_as_the_upright_one(
    server: EmbeddedServer, portrait: Path, tmp_path: Path
) -> None:
    figures = []
    for orientation in (1, 6):
        if orientation == 6:  # the upright photo's right side is stored on top
            picture = Image.fromarray(skimage.data.astronaut())
            exif = Image.Exif()
            exif[0x0112] = orientation
            turned = picture.transpose(Image.Transpose.ROTATE_90)
            turned.save(portrait / "astronaut.png", exif=exif)
            points = [ASTRONAUT.get(index) for index in range(68)]
            places = [(p[1], picture.width - p[0]) if p else ("nan", "nan") for p in points]
            body = "".join(f"{x} {y}\n" for x, y in places)
            (portrait / "astronaut_1.pts").write_text(f"version: 1\n{{\n{body}}}\n")
        path = tmp_path / "scores.json"
        argv = ["evaluate", "--labels", str(portrait), "--url", server.grpc_url]
        assert main([*argv, "--json", str(path)]) == 0
        (served,) = json.loads(path.read_text("utf-8"))["servers"]
        figures.append((served["classes"][0]["average_precision"], served["landmarks"]))
    assert figures[0] == figures[1]
    assert figures[1][0] == 1 and figures[1][1]["missed"] == 0
