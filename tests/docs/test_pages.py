"""What README and docs show works: code runs, tables, paths and commands are true."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import conversion.cli
import facekit.cli
from conversion.catalog_file import load_catalog
from conversion.releases import load_releases
from facekit import limits
from facekit.contract import MODELS
from facekit.data import probe_photo
from facekit.detection.parameters import ClusteringParameters
from facekit.engines.releases import _HOLES
from facekit.gateway.answers import MAX_DRAWN_PIXELS
from facekit.gateway.photos import MAX_PHOTOS
from facekit.serving.embedded import EmbeddedServer
from tests.photo_files import encode, picture

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
IDS = [page.stem for page in PAGES]
TEXT = {page.stem: page.read_text("utf-8") for page in PAGES}
LONGEST = 120
README_LINES = 150


def blocks(page: str, *languages: str) -> list[str]:
    found = re.findall(r"^```(\w+)\n(.*?)^```", TEXT[page], re.DOTALL | re.MULTILINE)
    return [text for language, text in found if language in languages]


def commands() -> Iterator[list[str]]:
    """Yield the commands that the pages show, split into words."""
    for page in TEXT:
        for block in blocks(page, "sh", "text"):
            frame = dict(re.findall(r"(frame)=\((.*)\)", block)).get("frame", "")
            text = block.replace("\\\n", " ").replace('"${frame[@]}"', frame)
            for line in text.splitlines():
                if "facekit" in line or "-m conversion" in line:
                    yield shlex.split(line, comments=True)


def local(text: str, server: EmbeddedServer) -> str:
    return text.replace("localhost:8001", server.grpc_url).replace(
        "localhost:8000", server.http_url
    )


PYTHON = [(page, code) for page in ("README", "models") for code in blocks(page, "python")]


@pytest.mark.parametrize(("page", "code"), PYTHON)
def test_python_block_runs(page: str, code: str, server: EmbeddedServer, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(probe_photo())
    done = subprocess.run(
        [sys.executable, "-c", local(code, server)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"\b68, 2\)", done.stdout), done.stdout


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with the photos that the pages name."""
    for name in ("photo.jpg", "other.jpg"):
        (tmp_path / name).write_bytes(probe_photo())
    return tmp_path


def curl(block: str, server: EmbeddedServer, folder: Path) -> list[bytes]:
    """Run the lines of a block with `curl`, or the block as one, and return what each prints."""
    plain = re.fullmatch(r"(curl .*\n)+", block)
    return [
        subprocess.run(
            ["bash", "-euo", "pipefail", "-c", local(each, server)],
            cwd=folder, capture_output=True, timeout=60, check=True,
        ).stdout
        for each in (block.splitlines() if plain else [block])
    ]  # fmt: skip


def curl_blocks(page: str) -> list[str]:
    return [text for text in blocks(page, "sh") if "curl" in text]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_lines_of_the_readme(server: EmbeddedServer, photos: Path) -> None:
    (block,) = curl_blocks("README")
    answer, nothing = curl(block, server, photos)
    assert json.loads(answer)["faces"][0]["score"] >= 0.7
    assert nothing == b""
    assert (photos / "drawn.jpg").read_bytes()[:2] == b"\xff\xd8"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_lines_of_rest(server: EmbeddedServer, photos: Path) -> None:
    one, several, *_ = curl_blocks("http")
    *answers, nothing = map(json.loads, filter(None, [*curl(one, server, photos), b"0"]))
    assert [each["model"] for each in answers] == ["faces", "facemask_ensemble", "landmarks"]
    assert (photos / "drawn.jpg").read_bytes()[:2] == b"\xff\xd8"
    form, listed = several.split("\nbase64")
    assert len(json.loads(curl(form, server, photos)[0])["results"]) == 2
    assert len(json.loads(curl(f"base64{listed}", server, photos)[0])["results"]) == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_lines_of_kserve(server: EmbeddedServer, photos: Path) -> None:
    described, binary = curl_blocks("http")[2:]
    (answer,) = curl(described, server, photos)
    outputs = {o["name"]: o for o in json.loads(answer)["outputs"]}
    assert set(outputs) == {t.name for t in MODELS["faces"].outputs}
    assert outputs["count"]["data"][0] >= 1

    curl(binary, server, photos)
    content = (photos / "answer.bin").read_bytes()
    about, end = json.JSONDecoder().raw_decode(content.decode("latin-1"))
    tensors = {}
    for output in about["outputs"]:
        size = output["parameters"]["binary_data_size"]
        tensors[output["name"]] = content[end : end + size]
        end += size
    assert end == len(content)
    assert set(tensors) == {t.name for t in MODELS["faces"].outputs}
    assert int.from_bytes(tensors["count"], "little") >= 1


def test_python_over_http(server: EmbeddedServer, photos: Path) -> None:
    (code,) = blocks("http", "python")
    done = subprocess.run(
        [sys.executable, "-c", local(code, server)],
        cwd=photos, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert re.fullmatch(r"[01]\.[0-9]+ \[.*\]\n", done.stdout), done.stdout


def test_http_page_has_every_parameter_and_error(server: EmbeddedServer) -> None:
    text = TEXT["http"]
    with urllib.request.urlopen(f"http://{server.http_url}/openapi.json") as answer:
        paths = json.load(answer)["paths"]
    calls = [path for path in paths if path.startswith("/v1/")]
    assert re.findall(r"^\| `(?:POST|GET) (/v1/\w+)` \|", text, re.M) == calls
    rows = re.findall(r"^\| `(\w+)` \| ((?:\w+(?:, )?)+|all three) \|", text, re.M)
    errors: set[str] = set()
    for path in calls:
        (operation,) = paths[path].values()
        names = {each["name"] for each in operation.get("parameters", [])}
        of = {"all three", path.removeprefix("/v1/")} if "post" in paths[path] else set()
        assert {name for name, where in rows if of & set(where.split(", "))} == names, path
        errors |= set(operation["responses"]) - {"200"}
    assert set(re.findall(r"^\| (\d{3}) \|", text, re.M)) == errors | {"401", "405"}
    assert f"at most {MAX_PHOTOS}." in text
    assert f"has {MAX_DRAWN_PIXELS // 10**6} megapixels at\nmost" in text


def test_folders_commands_and_python_run_in_their_order(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    (tmp_path / "photos" / "2019").mkdir(parents=True)
    for name in ("a.jpg", "2019/b.jpg"):
        (tmp_path / "photos" / name).write_bytes(probe_photo())
    (tmp_path / "photos" / "2019" / "nobody.png").write_bytes(encode(picture(), "PNG"))

    def run(arguments: list[str]) -> str:
        done = subprocess.run(
            arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stderr, done.stdout)
        return done.stdout

    shown = ""
    for block in blocks("folders", "sh", "python"):
        if not block.startswith("facekit"):
            shown += run([sys.executable, "-c", local(block, server)])
            continue
        for line in block.splitlines():
            name, *arguments = shlex.split(line)
            assert name == "facekit", line
            if arguments[0] == "annotate":
                arguments += ["--url", server.grpc_url]
            shown += run([sys.executable, "-m", "facekit.cli", *arguments])
    assert "3 photos, 2 faces" in shown
    assert len(list((tmp_path / "chips").glob("*.jpg"))) == 2
    for name in ("instances.json", "faces.parquet", "tasks.config.xml", "sheet.png", "turned.json"):
        assert (tmp_path / name).stat().st_size > 0, name


def test_every_command_shown_has_options_that_exist() -> None:
    seen = set()
    for words in commands():
        for k, word in enumerate(words):
            program = word.rpartition("/")[2]
            if program == "facekit" and k + 1 < len(words):
                facekit.cli.build_parser().parse_args(words[k + 1 :])
                seen.add(words[k + 1])
                break
            if words[k : k + 2] == ["-m", "conversion"]:
                conversion.cli.build_parser().parse_args(words[k + 2 :])
                seen.add("conversion")
                break
    assert {"annotate", "align", "show", "query", "detect", "serve", "bench", "evaluate"} <= seen
    assert "conversion" in seen


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_page_is_plain_to_read(page: Path) -> None:
    text = TEXT[page.stem]
    assert not re.search(r"@[A-Z]+@|TODO|TBD", text)
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", text):
        linked = (page.parent / target if target else page).read_text("utf-8")
        heads = re.findall(r"^#+ (.*)$", linked, re.MULTILINE)
        plain = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
        assert anchor in plain, anchor
    for name in set(re.findall(r"scripts/([\w-]+)", text)):
        assert (ROOT / "scripts" / name).is_file(), name
    if page.stem != "photos":  # its refusals are whole sentences of the code, in a table
        assert [line for line in text.splitlines() if len(line) > LONGEST] == []


def test_readme_is_short_and_links_every_page() -> None:
    assert len(TEXT["README"].splitlines()) <= README_LINES
    for page in PAGES[1:]:
        assert f"(docs/{page.name})" in TEXT["README"]


@pytest.mark.parametrize("page", ["README", "architecture"])
def test_map_of_the_code_is_true(page: str) -> None:
    rows = re.findall(r"^\| [^|]+ \| `([^`]+\.py)` \| `(\w+)` \|$", TEXT[page], re.MULTILINE)
    assert len(rows) >= 5
    for file, name in rows:
        code = (ROOT / file).read_text("utf-8")
        assert re.search(rf"^((async )?def|class) {name}\b|^{name}\b", code, re.MULTILINE), (
            file, name
        )  # fmt: skip


def test_folders_of_the_code_are_there() -> None:
    for path in re.findall(r"`((?:\w+/)+[\w.]*)`", TEXT["architecture"]):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    "model", ["faces", "landmarks", "facenet_ensemble", "facenet_resized", "facemask_ensemble",
              "fpenet_ensemble"],
)  # fmt: skip
def test_tensor_tables_are_the_contract(model: str) -> None:
    tensor = r"`([^`]+)` (\w+) \[([-\d,]+)\]"
    (row,) = re.findall(rf"^\| `{model}` \| ([^|]*\w+ \[.*)\|$", TEXT["models"], re.MULTILINE)[:1]
    inputs, outputs = row.split("|", 1)
    given = [(t.name, t.dtype, ",".join(map(str, t.dims))) for t in MODELS[model].inputs]
    assert re.findall(tensor, inputs) == given
    if outputs.strip().startswith("as `facenet_ensemble`") and model == "facenet_resized":
        return
    _, table = TEXT["models"].split("| model | output | what it is |", 1)
    part = re.search(rf"^\| `{model}` (.*?)^(?:\| `\w+` |$)", table, re.DOTALL | re.MULTILINE)
    assert part is not None
    expected = [(t.name, t.dtype, ",".join(map(str, t.dims))) for t in MODELS[model].outputs]
    assert re.findall(tensor, part[1]) == expected


def test_every_model_and_parameter_is_named() -> None:
    for name in [*MODELS, *vars(ClusteringParameters())]:
        assert f"`{name}`" in TEXT["models"], name


def test_limits_are_the_ones_in_force() -> None:
    text = " ".join(TEXT["models"].split())
    assert f"{limits.MAX_PHOTO_BYTES // 2**20} MiB" in text
    assert f"{limits.MAX_PHOTO_PIXELS // 10**6} megapixels of any other kind" in text
    assert f"{limits.MAX_JPEG_PIXELS // 10**6} megapixels a JPEG" in text
    assert f"{limits.MAX_PHOTO_SIDE:,} pixels a photo" in text
    assert f"{limits.MAX_BATCH_PIXELS // 10**6} megapixels a request" in text
    assert f"{limits.MAX_REQUEST_PIXELS // 10**6} of `fpenet_ensemble`" in text
    assert f"{limits.MAX_BOXES:,} boxes a photo" in text


def test_weights_table_names_every_choice_of_the_catalog() -> None:
    catalog = load_catalog(repository=ROOT / "model_repository")
    names = {name for model in catalog.values() for name in model.weights}
    text = TEXT["conversion"]
    (table,) = re.findall(r"^\| `--weights` .*\n\|-.*\n((?:\|.*\n)+)", text, re.M)
    assert set(re.findall(r"^\| `([\w-]+)`", table, re.M)) == names
    for model in catalog.values():
        for weights in model.weights.values():
            if weights.ngc is not None:
                version = weights.ngc.label.partition(":")[2]
                assert f"`{version}`, {weights.precision.value.upper()}" in text


def test_release_is_the_default_of_the_table() -> None:
    table = load_releases()
    text = " ".join(TEXT["conversion"].split())
    last = table.etlt_tags[-1]
    assert f"Triton {last} with TensorRT {table.known[last].tensorrt}" in text
    best = table.best([])
    assert f"the newest without known holes, {best}" in text


def test_known_holes_are_those_that_are_told() -> None:
    rows = re.findall(r"^\| (\d\d\.\d\d) \| (\d{4})-([\d, ]+) \|", TEXT["security"], re.MULTILINE)
    found = [(tag, f"CVE-{year}-{ids.replace(', ', '/')}") for tag, year, ids in rows]
    assert found == [(tag, hole) for _, tag, hole in _HOLES]


def test_every_service_and_port_that_is_named_is_composes() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    shown = r"docker compose .*?(?:up(?: --detach)?|run --rm) ([\w-]+)"
    assert set(re.findall(shown, TEXT["containers"])) == set(services)
    for page in TEXT:
        assert set(re.findall(shown, TEXT[page])) <= set(services), page


def test_metrics_of_the_queries_are_on_the_metrics_page(server: EmbeddedServer) -> None:
    queries = "\n".join(
        re.findall(r"^\| [^|]+ \| `(.*(?:rate|nv_).*)` \|$", TEXT["operations"], re.M)
    )
    with urllib.request.urlopen(server.metrics_url) as page:
        text = page.read().decode()
    assert "facekit_request_failure" in queries  # made with the first refusal: tests/served
    for name in set(re.findall(r"nv_\w+", queries)):
        assert f"# TYPE {name} " in text, name


def test_changelog_and_benchmarks_name_the_tested_versions() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    for version in ("2.51.0", "0.7.0", "2.4.0"):
        assert version in TEXT["benchmarks"]
        assert version in changelog
