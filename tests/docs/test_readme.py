"""What the README shows works: its code runs, its tables and paths are true."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from conversion import releases
from conversion.catalog_file import load
from conversion.planning import command_lines
from facekit import limits
from facekit.contract import MODELS
from facekit.data import probe_photo
from facekit.detection.parameters import ClusteringParameters
from facekit.serving.embedded import EmbeddedServer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
PYTHON = [text for language, text in BLOCKS if language == "python"]
SHELL = [text for language, text in BLOCKS if language == "sh"]


def local(text: str, server: EmbeddedServer) -> str:
    return text.replace("localhost:8001", server.grpc_url).replace(
        "localhost:8000", server.http_url
    )


@pytest.mark.parametrize("block", range(len(PYTHON)))
def test_python_block_runs(block: int, server: EmbeddedServer, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(probe_photo())
    code = local(PYTHON[block], server)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\b68, 2\)", done.stdout), done.stdout


def curl(kind: str, server: EmbeddedServer, folder: Path) -> bytes:
    """Run the README's block with `curl` in which `kind` stands; return what it prints."""
    (block,) = (text for text in SHELL if "curl" in text and kind in text)
    # curl's own content type is a form, which Triton takes apart on a thread's stack.
    assert block.count("Content-Type: application/octet-stream") == block.count("curl") == 1
    (folder / "photo.jpg").write_bytes(probe_photo())
    done = subprocess.run(
        ["bash", "-euc", local(block, server)],
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_block_answers_in_json(server: EmbeddedServer, tmp_path: Path) -> None:
    outputs = {o["name"]: o for o in json.loads(curl("size=", server, tmp_path))["outputs"]}
    assert set(outputs) == {t.name for t in MODELS["faces"].outputs}
    assert outputs["count"]["data"][0] >= 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_line_answers_in_json_and_bytes(server: EmbeddedServer, tmp_path: Path) -> None:
    curl("--output", server, tmp_path)

    answer = (tmp_path / "answer.bin").read_bytes()
    described, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    tensors = {}
    for output in described["outputs"]:
        size = output["parameters"]["binary_data_size"]
        tensors[output["name"]] = answer[end : end + size]
        end += size
    assert end == len(answer)
    assert set(tensors) == {t.name for t in MODELS["faces"].outputs}
    assert int.from_bytes(tensors["count"], "little") >= 1


def test_nothing_is_left_to_fill_in() -> None:
    assert not re.search(r"@[A-Z]+@|TODO|TBD", README)


def test_every_script_the_readme_names_exists() -> None:
    for name in set(re.findall(r"scripts/([\w-]+)", README)):
        assert (ROOT / "scripts" / name).stat().st_mode & 0o111, name


def test_every_link_into_the_repository_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize(
    "model",
    [
        "faces",
        "landmarks",
        "facenet_ensemble",
        "facenet_resized",
        "facemask_ensemble",
        "fpenet_ensemble",
    ],
)
def test_tensor_table_is_the_contract(model: str) -> None:
    (row,) = (line for line in README.splitlines() if line.startswith(f"| `{model}` |"))
    _, _, inputs, outputs, _ = row.split("|")
    for cell, specs in ((inputs, MODELS[model].inputs), (outputs, MODELS[model].outputs)):
        if "as `facenet_ensemble`" in cell:
            continue
        told = re.findall(r"`([^`]+)` (\w+) \[([-\d,]+)\]", cell)
        assert told == [(t.name, t.dtype, ",".join(map(str, t.dims))) for t in specs]


def test_every_model_and_parameter_is_named() -> None:
    for name in [*MODELS, *vars(ClusteringParameters())]:
        assert f"`{name}`" in README, name


def test_limits_are_the_ones_in_force() -> None:
    assert f"{limits.MAX_PHOTO_BYTES // 2**20} MiB" in README
    assert f"{limits.MAX_PHOTO_PIXELS // 10**6} megapixels of any other kind" in README
    assert f"{limits.MAX_JPEG_PIXELS // 10**6} megapixels a JPEG" in README
    assert f"{limits.MAX_PHOTO_SIDE:,} pixels a photo" in README
    assert f"{limits.MAX_BATCH_PIXELS // 10**6} megapixels a request" in README
    assert f"{limits.MAX_REQUEST_PIXELS // 10**6} of `fpenet_ensemble`" in README
    assert f"{limits.MAX_BOXES:,} boxes a photo" in README


def test_tools_commands_are_the_ones_the_converter_runs() -> None:
    (block,) = (text for text in SHELL if "tao-converter" in text)
    assert block.splitlines() == command_lines()


def test_weights_table_names_every_choice_of_the_catalog() -> None:
    catalog = load(repository=ROOT / "model_repository")
    names = {name for model in catalog.models.values() for name in model.weights}
    (table,) = re.findall(r"^\| `--weights` .*\n\|-.*\n((?:\|.*\n)+)", README, re.M)
    assert set(re.findall(r"^\| `([\w-]+)`", table, re.M)) == names
    for model in catalog.models.values():
        for weights in model.weights.values():
            if weights.ngc is not None:
                assert f"`{weights.ngc.version}`, {weights.precision.value.upper()}" in README


def test_release_is_the_default_of_the_table() -> None:
    release = releases.load().default
    assert f"Triton {release.tag} with TensorRT {release.tensorrt}" in README


def test_every_service_and_port_the_readme_names_is_composes() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    named = re.findall(r"docker compose .*?(?:up(?: --detach)?|run --rm) ([\w-]+)", README)
    assert set(named) == set(services)


def test_metrics_of_the_queries_are_on_the_metrics_page(server: EmbeddedServer) -> None:
    queries = "\n".join(re.findall(r"^\| [^|]+ \| `(.*(?:rate|nv_).*)` \|$", README, re.M))
    with urllib.request.urlopen(server.metrics_url) as page:
        text = page.read().decode()
    assert "facekit_request_failure" in queries  # made with the first refusal: tests/served
    for name in set(re.findall(r"nv_\w+", queries)):
        assert f"# TYPE {name} " in text, name


def test_changelog_and_readme_name_the_tested_versions() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    for version in ("2.51.0", "0.7.0", "2.4.0"):
        assert version in README
        assert version in changelog
