"""The page in Chromium where something is different: errors, camera, tokens, dark, the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facekit.data.portraits import demo_photos
from facekit.gateway.access import new_token
from facekit.serving.embedded import EmbeddedServer
from tests.gateway.browser import FacekitPage, expect
from tests.gateway.gateways import gateway

Open = Callable[..., FacekitPage]


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A file of tokens, and the token in it."""
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    return path, new_token(path, "page")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait of one face."""
    return demo_photos(tmp_path_factory.mktemp("photos"))[0]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text file with the name of a photo."""
    path = tmp_path_factory.mktemp("texts") / "text.jpg"
    path.write_text("not a photo\n" * 100)
    return path


def test_an_error_stands_at_its_photo_and_the_others_go_on(
    open_page: Open, photo: Path, text: Path
) -> None:
    page = open_page()
    page.choose(text, photo)
    expect(page.find("#problem")).to_contain_text("not a photo")
    expect(page.find("#progress")).to_have_text("2 photos, 1 face, 1 failed")
    page.thumbnails.nth(1).click()
    expect(page.find("#problem")).to_be_hidden()
    expect(page.boxes).to_have_count(1)
    page.thumbnails.nth(0).click()
    page.find("#again").click()
    page.wait()
    assert len(page.calls) == 3
    page.find("#remove").click()
    expect(page.find("#name")).to_have_text(photo.name)
    expect(page.find("#problem")).to_be_hidden()


def test_what_is_pointed_out_stays_so_while_other_photos_are_done(
    open_page: Open, photo: Path
) -> None:
    page = open_page()
    page.choose(photo)
    held: list[Any] = []
    page.page.route("**/v1/faces?*", lambda route: held.append(route))
    page.page.set_input_files("#files", [photo])
    page.thumbnails.first.click()
    button = page.rows.first.locator("button")
    button.focus()
    expect(page.find("#figures")).to_be_visible()
    held[0].continue_()
    page.wait()
    expect(page.find("#progress")).to_have_text("2 photos, 2 faces")
    expect(button).to_be_focused()
    expect(page.find("#figures")).to_be_visible()


def test_a_busy_server_is_asked_again_after_the_time_that_it_tells(
    open_page: Open, photo: Path
) -> None:
    page = open_page()
    answers = iter([503, 429])

    def busy(route: Any) -> None:
        status = next(answers, None)
        if status is None:
            route.continue_()
        else:
            route.fulfill(status=status, headers={"Retry-After": "1"}, body="{}")

    page.page.route("**/v1/faces?*", busy)
    page.page.set_input_files("#files", photo)
    expect(page.thumbnails.first).to_contain_text("The server is busy: again in 1 s")
    expect(page.boxes).to_have_count(1)
    assert len(page.calls) == 3


def test_a_server_that_is_away_is_said_at_the_photo_and_in_the_panel(
    open_page: Open, photo: Path
) -> None:
    page = open_page()
    expect(page.find("#status-open")).to_have_text("Server ready")
    page.page.route("**/v1/**", lambda route: route.abort())
    page.choose(photo)
    expect(page.find("#problem")).to_have_text("The server can't be reached.")
    page.find("#status-open").click()
    expect(page.find("#status-open")).to_have_text("Server away")
    expect(page.find("#status")).to_contain_text("The server can't be reached.")
    page.page.unroute("**/v1/**")
    expect(page.find("#status-open")).to_have_text("Server ready")
    page.find("#status-open").click()
    page.find("#again").click()
    expect(page.boxes).to_have_count(1)


def test_the_panel_tells_models_and_requests_and_is_renewed(open_page: Open, photo: Path) -> None:
    page = open_page()
    page.choose(photo)
    page.find("#status-open").click()
    panel = page.find("#status")
    expect(panel).to_contain_text("ready, Triton 2.")
    names = panel.locator("tbody th").all_text_contents()
    assert {"faces", "facenet_ensemble", "facemask_ensemble"} <= set(names)
    expect(panel).to_contain_text("Requests a second")
    asked = page.asked.count("GET /v1/status")
    with page.page.expect_response("**/v1/status"):
        pass
    assert page.asked.count("GET /v1/status") > asked
    page.find("#status").press("Escape")
    expect(panel).to_be_hidden()
    expect(page.find("#status-open")).to_be_focused()


def test_a_picture_of_the_camera_is_a_photo(open_page: Open) -> None:
    page = open_page(permissions=["camera"])
    page.find("#camera-open").click()
    expect(page.find("#camera-take")).to_be_enabled()
    page.find("#camera-take").click()
    expect(page.find("#name")).to_have_text("camera 1.jpg")
    page.wait()
    expect(page.find("#summary")).to_contain_text("0 faces in")
    expect(page.find("#camera")).to_be_hidden()


def test_a_denied_or_missing_camera_is_said_in_words(open_page: Open) -> None:
    page = open_page()
    page.find("#camera-open").click()
    expect(page.find("#camera-message")).to_contain_text("The camera was denied.")
    expect(page.find("#camera-take")).to_be_hidden()
    page.find("#camera-close").click()
    expect(page.find("#camera-open")).to_be_focused()
    page.page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia ="
        " async () => { throw new DOMException('', 'NotFoundError'); }; }"
    )
    page.find("#camera-open").click()
    expect(page.find("#camera-message")).to_contain_text("There is no camera.")
    page.find("#camera-close").click()
    page.page.evaluate(
        "() => { Object.defineProperty(navigator, 'mediaDevices', {value: undefined}); }"
    )
    page.find("#camera-open").click()
    expect(page.find("#camera-message")).to_contain_text("only to pages over HTTPS")


def test_a_token_is_asked_for_and_kept_for_the_tab(
    open_page: Open, server: EmbeddedServer, photo: Path, token: tuple[Path, str]
) -> None:
    path, word = token
    with gateway("--url", server.grpc_url, "--tokens", str(path)) as url:
        page = open_page(url)
        expect(page.find("#token")).to_be_visible()
        page.find("#token-close").click()
        page.page.set_input_files("#files", photo)
        expect(page.find("#token")).to_be_visible()
        page.find("#token-text").fill("wrong")
        page.find("#token-text").press("Enter")
        expect(page.find("#token-message")).to_have_text("The server refused this token.")
        page.find("#token-text").fill(word)
        page.find("#token-text").press("Enter")
        expect(page.boxes).to_have_count(1)
        page.find("#curl summary").click()
        expect(page.find("#curl-text")).to_contain_text('-H "Authorization: Bearer $TOKEN"')
        assert word not in page.find("#curl-text").inner_text()
        page.page.reload()
        expect(page.find("#status-open")).to_have_text("Server ready")
        expect(page.find("#token")).to_be_hidden()
        assert word not in page.page.evaluate("JSON.stringify(localStorage)")
        page.page.goto("/docs")
        expect(page.find(".opblock").first).to_be_visible()


def test_without_a_token_every_photo_says_so_and_the_question_comes_once(
    open_page: Open, server: EmbeddedServer, photo: Path, token: tuple[Path, str]
) -> None:
    with gateway("--url", server.grpc_url, "--tokens", str(token[0])) as url:
        page = open_page(url)
        page.find("#token-close").click()
        page.page.set_input_files("#files", [photo] * 5)
        page.find("#token-close").click()
        page.wait()
        expect(page.find("#progress")).to_have_text("5 photos, 0 faces, 5 failed")
        expect(page.find("#problem")).to_contain_text("asks for a token")
        expect(page.find("#token")).to_be_hidden()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    open_page: Open, photo: Path, text: Path, scheme: str, width: int
) -> None:
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.check_access()
    page.choose(text)
    page.check_access()
    page.choose(photo)
    page.find("#model").select_option("masks")
    page.wait()
    for summary in ("#json", "#curl"):
        page.find(f"{summary} summary").click()
    page.rows.first.locator("button").focus()
    page.check_access()
    page.find("#status-open").click()
    expect(page.find("#status tbody tr").first).to_be_visible()
    page.check_access()
    page.find("#status-open").click()
    page.find("#camera-open").click()
    expect(page.find("#camera-message")).to_be_visible()
    page.check_access()


def test_dark_and_light_differ_and_still_is_still(open_page: Open, photo: Path) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    grounds = {open_page(color_scheme=scheme).page.evaluate(ground) for scheme in ("light", "dark")}
    assert len(grounds) == 2
    page = open_page(reduced_motion="reduce")
    assert page.find("#choose").evaluate("it => getComputedStyle(it).transitionDuration") == "0s"


def test_the_description_of_the_calls_is_shown(open_page: Open) -> None:
    page = open_page()
    page.page.goto("/docs")
    expect(page.find(".opblock-summary-path").first).to_be_visible()
    paths = page.find(".opblock-summary-path").all_text_contents()
    assert {"/v1/faces", "/v1/masks"} <= {path.replace("\u200b", "") for path in paths}
    page.find(".opblock").first.click()
    expect(page.find(".opblock-body").first).to_be_visible()
