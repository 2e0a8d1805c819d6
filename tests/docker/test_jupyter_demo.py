"""``docker-compose up -d jupyter-demo`` beside a server, in a real browser as a user sees it."""

from __future__ import annotations

import json
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker import engine
from tests.docker.browser import Browser, chromium
from tests.docker.engine import KEY, ROOT, Compose

SERVICE = "jupyter-demo"
NOTEBOOK = "face_workflow.ipynb"
CELLS = json.loads((ROOT / "notebooks" / NOTEBOOK).read_text("utf-8"))["cells"]
# The folder as the host has it belongs to nobody whom the container knows.
USER = 4711
RUN_S = 240.0


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, photo_file: Path) -> Path:
    """Two photos, one of them below a folder, and half a photo."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "1969").mkdir()
    shutil.copyfile(photo_file, folder / "portrait.jpg")
    shutil.copyfile(ROOT / "docs" / "demo.jpg", folder / "1969" / "wall.jpg")
    (folder / "torn.jpg").write_bytes(photo_file.read_bytes()[:5000])
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


@pytest.fixture(scope="module")
def compose(
    cpu_image: str,
    jupyter_image: str,
    redis_image: str,
    photos: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Compose]:
    """The notebook, a server and a store, all healthy."""
    models = engine.copy_repository(tmp_path_factory.mktemp("jupyter") / "models")
    env = {
        "FACEKIT_CPU_IMAGE": cpu_image,
        "FACEKIT_JUPYTER_IMAGE": jupyter_image,
        "REDIS_IMAGE": redis_image,
        "FACEKIT_MODEL_REPOSITORY": str(models),
        "FACEKIT_PHOTOS": str(photos),
        "FACEKIT_JUPYTER_PORT": str(engine.free_ports(1)[0]),
        # As .env.example has it.
        "FACEKIT_JUPYTER_TOKEN": "",
        "FACEKIT_UID": str(USER),
        "FACEKIT_GID": str(USER),
        "NGC_API_KEY": KEY,
    }
    with engine.project(env) as project:
        project("up", "--detach", SERVICE)
        project("--profile", "cpu", "up", "--detach", "triton-cpu")
        project("up", "--detach", "redis")
        for service in (SERVICE, "triton-cpu", "redis"):
            project.wait_healthy(service)
        yield project


@pytest.fixture
def container(compose: Compose) -> str:
    """The notebook's container."""
    return compose.container(SERVICE)


@pytest.fixture(scope="module")
def address(compose: Compose) -> str:
    """The address with its token that the log shows for this machine."""
    found = re.findall(r"http://127\.0\.0\.1:\d+/lab\S+token=\w+", compose("logs", SERVICE))
    assert found
    return str(found[-1])


def site(compose: Compose) -> str:
    return f"http://127.0.0.1:{compose.env['FACEKIT_JUPYTER_PORT']}"


def may_enter(url: str) -> bool:
    """Whether an address shows what lies there, and neither an error nor the way to log in."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return "/login" not in answer.url
    except urllib.error.HTTPError as error:
        assert error.code == 403
        return False


def test_address_in_the_log_is_the_one_that_works(compose: Compose, address: str) -> None:
    assert address.startswith(f"{site(compose)}/lab/tree/{NOTEBOOK}?token=")
    assert len(address.rpartition("=")[2]) >= 32
    assert may_enter(address)


@pytest.mark.parametrize("token", ["", "?token=", "?token=guess"])
def test_without_the_token_nothing_is_to_be_had(compose: Compose, token: str) -> None:
    for path in ("/api/contents", "/api/kernels", f"/files/{NOTEBOOK}"):
        assert not may_enter(f"{site(compose)}{path}{token}")


def test_browser_without_the_token_is_asked_for_it(compose: Compose) -> None:
    with chromium() as browser:
        browser.open(f"{site(compose)}/lab")
        assert "/login" in browser.url()
        assert browser.run("return document.querySelector('input[type=password]') !== null")


def test_token_of_ones_own_lets_in_and_is_not_in_the_log(jupyter_image: str) -> None:
    env = {
        "FACEKIT_JUPYTER_IMAGE": jupyter_image,
        "FACEKIT_JUPYTER_TOKEN": "a token of my own",
        "FACEKIT_JUPYTER_PORT": str(engine.free_ports(1)[0]),
    }
    with engine.project(env) as project:
        project("up", "--detach", SERVICE)
        container = project.wait_healthy(SERVICE)
        contents = f"{site(project)}/api/contents"
        assert may_enter(f"{contents}?token=a%20token%20of%20my%20own")
        assert not may_enter(contents)
        assert "of my own" not in engine.logs(container)


def test_container_is_published_on_this_machine_alone(container: str) -> None:
    ports = engine.inspect(container)["NetworkSettings"]["Ports"].values()
    assert [binding["HostIp"] for port in ports if port for binding in port] == ["127.0.0.1"]


def test_container_runs_without_rights_on_a_read_only_root(container: str) -> None:
    found = engine.inspect(container)
    assert found["Config"]["User"] == f"{USER}:{USER}"
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"]


def test_container_has_neither_the_key_nor_the_models(container: str, jupyter_image: str) -> None:
    assert KEY not in json.dumps(engine.inspect(container))
    assert not engine.holds(jupyter_image, KEY)
    targets = {mount["Destination"] for mount in engine.inspect(container)["Mounts"]}
    assert targets == {"/photos", "/workspace"}


def test_photos_can_not_be_changed_from_inside(container: str) -> None:
    done = engine.run(["docker", "exec", "--user", "0", container, "rm", "/photos/torn.jpg"])
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr


def test_folder_of_photos_that_is_missing_is_named(jupyter_image: str, tmp_path: Path) -> None:
    env = {"FACEKIT_JUPYTER_IMAGE": jupyter_image, "FACEKIT_PHOTOS": str(tmp_path / "mistyped")}
    with engine.project(env) as project:
        done = project.run("up", "--detach", SERVICE)
        assert done.returncode != 0
        assert str(tmp_path / "mistyped") in done.stderr
    assert not (tmp_path / "mistyped").exists()


def test_workspace_that_can_not_be_written_is_named(jupyter_image: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    mount = f"--volume={tmp_path}:/workspace"
    done = engine.run(["docker", "run", "--rm", f"--user={USER}", mount, jupyter_image])
    assert done.returncode != 0
    words = f"{NOTEBOOK} can't be written by user {USER}: Permission denied; see FACEKIT_WORKSPACE"
    assert words in done.stderr


def run_all(browser: Browser) -> None:
    """Run all cells by the menu, and wait for the kernel to be done with them."""
    # Before the kernel is there, JupyterLab would ask which one to take.
    status = "return document.querySelector('#jp-main-statusbar')?.textContent ?? ''"
    engine.wait_until(lambda: "| Idle" in browser.run(status), "the kernel is ready", 60)
    browser.click("//div[contains(@class, 'lm-MenuBar-itemLabel') and text()='Run']")
    browser.click("//li[@data-command='runmenu:run-all']")
    engine.wait_until(lambda: prompts(browser)[-1:] == [f"[{code_cells()}]:"], "all ran", RUN_S)


def code_cells() -> int:
    return sum(cell["cell_type"] == "code" for cell in CELLS)


def prompts(browser: Browser) -> list[str]:
    """Return what stands before the code cells: a number once one has run."""
    every = "[...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]"
    found: list[str] = browser.run(f"return {every}.map(each => each.textContent)")
    return found


def pictures(browser: Browser) -> list[list[int]]:
    """Return width and height of every picture that is shown under a cell."""
    every = "[...document.querySelectorAll('.jp-OutputArea-output img')]"
    sizes = f"return {every}.map(each => [each.naturalWidth, each.naturalHeight])"
    found: list[list[int]] = browser.run(sizes)
    return found


@pytest.fixture(scope="module")
def screenshot(
    compose: Compose, address: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[list[int]]]:
    """The notebook run in the browser: what it looks like at its end, and its pictures."""
    path = tmp_path_factory.mktemp("browser") / "face_workflow.png"
    with chromium() as browser:
        browser.open(address)
        run_all(browser)
        last = "[...document.querySelectorAll('.jp-OutputArea-output img')].at(-1)"
        browser.run(f"{last}.scrollIntoView({{block: 'center'}})")
        found = pictures(browser)
        browser.screenshot(path)
        browser.click("//div[contains(@class, 'lm-MenuBar-itemLabel') and text()='File']")
        browser.click("//li[@data-command='docmanager:save']")
        engine.wait_until(lambda: is_saved(compose), "the notebook is saved", 20)
    return path, found


def saved(compose: Compose) -> dict[str, Any]:
    """Return the notebook as it lies in the workspace."""
    text = engine.docker("exec", compose.container(SERVICE), "cat", f"/workspace/{NOTEBOOK}")
    notebook: dict[str, Any] = json.loads(text)
    return notebook


def is_saved(compose: Compose) -> bool:
    """Whether the notebook in the workspace has outputs, and is not just being written."""
    try:
        return bool(outputs(compose))
    except ValueError:
        return False


def outputs(compose: Compose) -> list[dict[str, Any]]:
    """Return the outputs of all cells of the notebook in the workspace."""
    return [output for cell in saved(compose)["cells"] for output in cell.get("outputs", [])]


def test_notebook_runs_in_the_browser_and_shows_the_sheet(
    compose: Compose, screenshot: tuple[Path, list[list[int]]]
) -> None:
    path, sizes = screenshot
    assert path.stat().st_size > 50_000
    width, height = sizes[-1]
    assert width >= 600
    assert height >= 200
    assert not [output for output in outputs(compose) if output["output_type"] == "error"]


def test_notebook_of_the_image_is_left_as_it_is(
    compose: Compose, container: str, screenshot: tuple[Path, list[list[int]]]
) -> None:
    image = engine.docker("exec", container, "cat", f"/opt/facekit/share/{NOTEBOOK}")
    assert image == (ROOT / "notebooks" / NOTEBOOK).read_text("utf-8")


def test_results_outlast_a_container_that_is_made_anew(
    compose: Compose, screenshot: tuple[Path, list[list[int]]]
) -> None:
    before = saved(compose)
    assert outputs(compose)
    compose("up", "--detach", "--force-recreate", SERVICE)
    container = compose.wait_healthy(SERVICE)
    assert saved(compose) == before
    assert "instances.json" in engine.docker("exec", container, "ls", "/workspace")


def test_command_line_fills_the_redis_of_this_file_and_asks_it(
    compose: Compose, container: str
) -> None:
    into = ["--coco", "/workspace/commands.json", "--store", "redis://redis:6379"]
    command = ["docker", "exec", container, "facekit"]
    done = engine.run([*command, "annotate", "/photos", "--url", "triton:8001", *into])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 photos, 3 faces; 1 failed" in done.stdout + done.stderr
    asked = [*command, "query", "--store", "redis://redis:6379", "--json", "-"]
    answer = engine.output_of([*asked, "--min-faces", "1"])
    assert "portrait.jpg" in answer
    assert "1969/wall.jpg" in answer
    assert "torn.jpg" not in answer
    assert int(engine.docker("exec", compose.container("redis"), "redis-cli", "dbsize")) > 0


def test_notebook_keeps_its_results_in_the_redis_too(container: str) -> None:
    settings = ["FACEKIT_STORE=redis://redis:6379", "FACEKIT_OUTPUT=/workspace/second"]
    words = [word for setting in settings for word in ("--env", setting)]
    notebook = f"/opt/facekit/share/{NOTEBOOK}"
    target = ["--output", f"/workspace/second/{NOTEBOOK}"]
    engine.docker("exec", container, "mkdir", "--parents", "/workspace/second")
    engine.docker("exec", *words, container, "jupyter", "execute", notebook, *target)
    said = engine.docker("exec", container, "cat", f"/workspace/second/{NOTEBOOK}")
    assert re.search(r"redis://redis:6379\S* dataset photos: 2 photos", said)
