"""The notebook: run from top to bottom on the embedded server, and looked at as text."""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image
from pycocotools.coco import COCO

from facekit.data.portraits import demo_photos
from facekit.serving import EmbeddedServer
from tests.photo_files import bad_photos

PATH = Path(__file__).parents[2] / "notebooks" / "face_workflow.ipynb"
RUN_S = 120


def read() -> Any:
    return nbformat.read(PATH, as_version=4)


def code() -> list[str]:
    return [cell.source for cell in read().cells if cell.cell_type == "code"]


def run(
    output: Path, monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str] | None = None
) -> Any:
    """Execute the notebook with its results in a folder; return it with its outputs."""
    for name in list(os.environ):
        if name.startswith("FACEKIT_"):
            monkeypatch.delenv(name)
    for name, value in {"FACEKIT_OUTPUT": str(output), **(settings or {})}.items():
        monkeypatch.setenv(name, value)
    notebook = read()
    NotebookClient(notebook, timeout=RUN_S, kernel_name="python3").execute()
    return notebook


def data(notebook: Any, kind: str) -> list[str]:
    """Return the outputs of one kind, from top to bottom."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def pictures(notebook: Any) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(png))) for png in data(notebook, "image/png")]


def said(notebook: Any) -> str:
    """Return all texts and tables."""
    return "\n".join([*data(notebook, "text/markdown"), *data(notebook, "text/plain")])


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The notebook with no settings: the demo's portraits, and a server that it starts itself."""
    output = tmp_path_factory.mktemp("workflow")
    with pytest.MonkeyPatch.context() as monkeypatch:
        return output, run(output, monkeypatch)


def test_committed_notebook_is_valid_and_has_no_outputs() -> None:
    notebook = read()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert PATH.stat().st_size < 50_000


def test_code_has_no_eval_and_no_cell_that_is_there_to_fail() -> None:
    tree = ast.parse("\n".join(code()))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & {"eval", "exec"}
    # An error is raised where there is a reason to, and a sum on a line of its own is none.
    alone = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    numbers = [
        node
        for node in alone
        if isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant)
    ]
    assert not numbers


def test_notebook_says_what_every_setting_that_it_reads_is_for() -> None:
    settings = set(re.findall(r"FACEKIT_\w+", "\n".join(code())))
    assert settings
    assert set(re.findall(r"^\| `(FACEKIT_\w+)`", read().cells[0].source, re.M)) == settings


def test_cells_ran_in_order_without_an_error(executed: tuple[Path, Any]) -> None:
    cells = [cell for cell in executed[1].cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert "error" not in kinds


def test_faces_of_all_portraits_are_in_the_dataset(executed: tuple[Path, Any]) -> None:
    coco = COCO(executed[0] / "instances.json")
    names = {image["file_name"]: image["id"] for image in coco.loadImgs(coco.getImgIds())}
    faces = {name: len(coco.getAnnIds(imgIds=[names[name]])) for name in names}
    assert faces == {"astronaut.png": 1, "grace_hopper.jpg": 1, "group.jpg": 9}
    assert "11 faces; 1 failed" in said(executed[1])


def test_photo_that_failed_is_shown_with_its_reason(executed: tuple[Path, Any]) -> None:
    assert re.search(r"^\| `half_a_photo.png` \| truncated", said(executed[1]), re.M)


def test_dali_reads_the_dataset_back_in(executed: tuple[Path, Any]) -> None:
    assert "| (840, 1280, 3) | (9, 4) | (9, 68, 2) |" in said(executed[1])


def test_store_answers_the_questions(executed: tuple[Path, Any]) -> None:
    tables = data(executed[1], "text/markdown")
    (groups,) = (text for text in tables if text.startswith("| photo with at least two faces"))
    assert "| `group.jpg` | 9 |" in groups
    (tilted,) = (text for text in tables if text.startswith("| tilted by more"))
    angles = [abs(int(angle)) for angle in re.findall(r"([+-]\d+)°", tilted)]
    assert angles == sorted(angles, reverse=True)
    assert angles[0] >= 5


def test_chips_and_the_sheet_are_shown(executed: tuple[Path, Any]) -> None:
    chips, sheet = pictures(executed[1])
    assert chips.size == (960, 240)
    # Eleven chips of sixteen places, and a face is no even color.
    tiles = np.asarray(chips.convert("L")).reshape(2, 120, 8, 120).swapaxes(1, 2).reshape(16, -1)
    assert (tiles.std(axis=1) > 10).tolist() == [True] * 11 + [False] * 5
    assert sheet.width >= 1000
    assert sheet.height >= 600
    assert np.asarray(sheet.convert("L")).std() > 20


def test_run_again_looks_at_no_photo_twice(
    executed: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, _ = executed
    before = (output / "instances.json").read_bytes()
    again = run(output, monkeypatch)
    assert "(0 new or changed, 4 unchanged, 0 removed)" in said(again)
    assert (output / "instances.json").read_bytes() == before


def test_photos_of_ones_own_on_a_server_that_runs(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    (photos / "2011").mkdir(parents=True)
    demo_photos(photos / "2011")
    for number, (content, _) in enumerate(bad_photos().values()):
        (photos / f"bad{number}.jpg").write_bytes(content)
    settings = {"FACEKIT_PHOTOS": str(photos), "FACEKIT_URL": server.grpc_url}
    notebook = run(tmp_path / "results", monkeypatch, settings)
    assert f"the server at {server.grpc_url}" in said(notebook)
    assert "`2011/group.jpg`" in said(notebook)
    failures = (tmp_path / "results" / "instances.failures.jsonl").read_text("utf-8").splitlines()
    assert failures
    for failure in failures[:10]:
        assert f"| `{json.loads(failure)['photo']}` |" in said(notebook)


def test_photos_without_any_face_get_to_the_end_too(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (320, 240), "green").save(photos / "meadow.jpg")
    settings = {"FACEKIT_PHOTOS": str(photos), "FACEKIT_URL": server.grpc_url}
    notebook = run(tmp_path / "results", monkeypatch, settings)
    assert "1 photo, 0 faces" in said(notebook)
    assert len(pictures(notebook)) == 2


def test_server_that_is_not_there_is_told_with_the_commands_that_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CellExecutionError) as raised:
        run(tmp_path, monkeypatch, {"FACEKIT_URL": "127.0.0.1:9"})
    assert "no server is ready at 127.0.0.1:9" in str(raised.value)
    assert "docker compose --profile cpu up --detach triton-cpu" in str(raised.value)
