"""The page in Chromium, before the real gateway and the real server: photos and faces."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facekit.client import Client
from facekit.data.portraits import demo_photos
from facekit.serving.embedded import EmbeddedServer
from tests.gateway.browser import FacekitPage, expect
from tests.photo_files import oriented_jpeg

Open = Callable[..., FacekitPage]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Public-domain portraits: ``astronaut``, ``grace_hopper``, and ``group`` with nine faces."""
    return {path.stem: path for path in demo_photos(tmp_path_factory.mktemp("photos"))}


@pytest.fixture(scope="module")
def found(server: EmbeddedServer, photos: dict[str, Path]) -> dict[str, Any]:
    """The faces of each photo, as the client finds them."""
    with Client(server.grpc_url, timeout_s=60) as client:
        return {name: client.detect(path) for name, path in photos.items()}


def test_the_faces_of_several_photos_are_drawn_where_they_are(
    open_page: Open, photos: dict[str, Path], found: dict[str, Any]
) -> None:
    page = open_page()
    page.choose(photos["group"], photos["astronaut"])
    faces = found["group"]
    assert len(faces) >= 9
    expect(page.boxes).to_have_count(len(faces))
    expect(page.rows).to_have_count(len(faces))
    expect(page.find("#name")).to_have_text("group.jpg")
    expect(page.find("#progress")).to_have_text(f"2 photos, {len(faces) + 1} faces")
    # Each box lies over the photo as it is shown.
    image = page.find("#image").bounding_box()
    assert image is not None
    scale = image["width"] / faces.size_wh[0]
    drawn = [page.find(f'#marks [data-face="{k}"] .box').bounding_box() for k in range(len(faces))]
    shown = np.array([[box["x"], box["y"], box["width"], box["height"]] for box in drawn if box])
    lefts = faces.boxes_xyxy[:, :2] * scale + [image["x"], image["y"]]
    sides = (faces.boxes_xyxy[:, 2:] - faces.boxes_xyxy[:, :2]) * scale
    np.testing.assert_allclose(shown, np.hstack([lefts, sides]), atol=3)
    assert page.find("#marks path").count() >= len(faces)
    page.thumbnails.nth(1).click()
    expect(page.boxes).to_have_count(1)
    expect(page.find("#summary")).to_contain_text("1 face in 512 × 512 pixels")


@pytest.mark.parametrize(("event", "name"), [("drop", "dataTransfer"), ("paste", "clipboardData")])
def test_photos_are_dropped_and_pasted(
    open_page: Open, photos: dict[str, Path], event: str, name: str
) -> None:
    page = open_page()
    page.give(event, name, [photos["astronaut"], photos["grace_hopper"]])
    expect(page.find("#progress")).to_have_text("2 photos, 2 faces")
    expect(page.boxes).to_have_count(1)


def test_a_turned_photo_is_shown_upright_under_its_boxes(
    open_page: Open, photos: dict[str, Path], tmp_path: Path
) -> None:
    upright = Image.open(photos["grace_hopper"]).convert("RGB")
    path = tmp_path / "turned.jpg"
    path.write_bytes(oriented_jpeg(upright, 6))
    page = open_page()
    page.choose(path)
    expect(page.boxes).to_have_count(1)
    sides = page.find("#image").evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert tuple(sides) == upright.size
    expect(page.find("#summary")).to_contain_text("{} × {}".format(*upright.size))
    shown = page.find("#image").bounding_box()
    assert shown is not None
    assert shown["width"] / shown["height"] == pytest.approx(upright.width / upright.height, 0.01)


def test_a_photo_that_browsers_do_not_show_has_its_faces_in_the_table(
    open_page: Open, photos: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "photo.tif"
    Image.open(photos["astronaut"]).save(path)
    page = open_page()
    page.choose(path)
    expect(page.rows).to_have_count(1)
    expect(page.find("#unseen")).to_be_visible()


def test_the_lowest_score_filters_at_once_and_a_lower_one_asks_again(
    open_page: Open, photos: dict[str, Path], found: dict[str, Any]
) -> None:
    page = open_page()
    page.choose(photos["group"])
    expect(page.boxes).to_have_count(len(found["group"]))
    limit = float(np.sort(found["group"].scores)[3]) + 0.0005
    page.find("#score").evaluate(
        "(input, value) => { input.step = 'any'; input.value = value; }", limit
    )
    page.find("#score").dispatch_event("input")
    kept = int((found["group"].scores >= limit).sum())
    expect(page.boxes).to_have_count(kept)
    expect(page.find("#summary")).to_contain_text(f"{kept} of {len(found['group'])} faces")
    page.find("#score").dispatch_event("change")
    assert len(page.calls) == 1
    page.find("#score").fill("0.2")
    page.find("#score").dispatch_event("change")
    page.wait()
    assert [call.partition("min_score=")[2] for call in page.calls] == ["0.5", "0.2"]


def test_choices_change_the_call_and_are_remembered(
    open_page: Open, photos: dict[str, Path]
) -> None:
    page = open_page()
    page.choose(photos["group"])
    page.find("#model").select_option("boxes")
    page.wait()
    expect(page.find("#marks path")).to_have_count(0)
    page.find("#closer").check()
    page.wait()
    page.find("#model").select_option("masks")
    page.wait()
    expect(page.find("#closer")).to_be_hidden()
    expect(page.find("#marks .tag").first).to_contain_text("mask ")
    page.find("#color-no-mask").fill("#0000ff")
    colors = page.boxes.evaluate_all("all => all.map(box => box.getAttribute('stroke'))")
    assert "#0000ff" in colors
    paths = [call.split()[1] for call in page.calls]
    assert paths == [
        "/v1/faces?min_score=0.5",
        "/v1/faces?landmarks=0&min_score=0.5",
        "/v1/faces?landmarks=0&tiles=auto&rotations=auto&min_score=0.5",
        "/v1/masks?min_score=0.5",
    ]
    # An answer that is there already is not asked for again.
    page.find("#model").select_option("boxes")
    page.find("#closer").uncheck()
    page.find("#model").select_option("faces")
    page.wait()
    assert len(page.calls) == 4
    page.find("#model").select_option("masks")
    page.page.reload()
    assert page.find("#model").input_value() == "masks"
    assert page.find("#color-no-mask").input_value() == "#0000ff"


def test_pointing_out_a_face_tells_its_figures(
    open_page: Open, photos: dict[str, Path], found: dict[str, Any]
) -> None:
    face = found["astronaut"][0]
    page = open_page()
    page.choose(photos["astronaut"])
    page.boxes.first.hover()
    figures = page.find("#figures")
    expect(figures).to_contain_text(f"Score{face.score:.2f}")
    expect(figures).to_contain_text(f"{face.width:.0f} × {face.height:.0f} px")
    expect(figures).to_contain_text(f"Sharpness{face.sharpness:.2f}")
    expect(figures).to_contain_text(f"yaw {face.pose_deg[0]:.0f}°")
    expect(page.rows.first).to_have_class("on")
    page.find("h1").hover()
    expect(figures).to_be_hidden()
    page.boxes.first.click()
    expect(page.rows.first.locator("button")).to_be_focused()
    expect(figures).to_be_visible()


def test_everything_can_be_reached_by_keyboard(
    open_page: Open, photos: dict[str, Path], found: dict[str, Any]
) -> None:
    page = open_page()
    page.choose(photos["group"], photos["astronaut"])
    press = page.page.keyboard.press
    focused = []
    for _ in range(25):
        press("Tab")
        focused.append(
            page.page.evaluate(
                "document.activeElement.id || document.activeElement.className"
                " || document.activeElement.tagName"
            )
        )
    for name in (
        "choose",
        "camera-open",
        "status-open",
        "actual",
        "remove",
        "model",
        "score",
        "closer",
    ):
        assert name in focused
    # One stop a list; the arrow keys go on from there.
    assert focused.count("BUTTON") <= 4
    page.thumbnails.first.focus()
    press("ArrowRight")
    press("Enter")
    expect(page.find("#name")).to_have_text("astronaut.png")
    page.thumbnails.first.press("Enter")
    expect(page.boxes).to_have_count(len(found["group"]))
    page.rows.first.locator("button").focus()
    press("ArrowDown")
    press("ArrowDown")
    expect(page.find("#figures")).to_contain_text(f"Face 3 of {len(found['group'])}")
    expect(page.rows.nth(2).locator("button")).to_be_focused()
    press("Escape")
    expect(page.find("#figures")).to_be_hidden()


def test_a_phone_shows_all_of_it_without_scrolling_sideways(
    open_page: Open, photos: dict[str, Path], found: dict[str, Any]
) -> None:
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True)
    page.choose(photos["group"], photos["astronaut"], photos["grace_hopper"])
    expect(page.boxes).to_have_count(len(found["group"]))
    for open_one in ("#json summary", "#curl summary", "#status-open"):
        page.find(open_one).click()
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    page.page.keyboard.press("Escape")
    page.boxes.nth(4).tap()
    expect(page.find("#figures")).to_be_visible()
    card = page.find("#figures").bounding_box()
    assert card is not None
    assert 0 <= card["x"]
    assert card["x"] + card["width"] <= 390


def test_json_and_curl_are_the_call_of_the_page(
    open_page: Open, url: str, photos: dict[str, Path], tmp_path: Path
) -> None:
    photo = tmp_path / "it's a photo.png"
    photo.write_bytes(photos["astronaut"].read_bytes())
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.choose(photo)
    page.find("#json summary").click()
    page.find('[data-copy="json-text"]').click()
    clipboard = "navigator.clipboard.readText()"
    copied = json.loads(page.page.evaluate(clipboard))
    page.find("#curl summary").click()
    page.find('[data-copy="curl-text"]').click()
    done = subprocess.run(
        page.page.evaluate(clipboard), shell=True, cwd=tmp_path, capture_output=True, check=True
    )
    assert json.loads(done.stdout) == copied
    with page.page.expect_download() as saved:
        page.find("#download").click()
    assert json.loads(Path(saved.value.path()).read_text("utf-8")) == copied
    assert saved.value.suggested_filename == "it's a photo.png.json"
    assert len(copied["faces"]) == 1
