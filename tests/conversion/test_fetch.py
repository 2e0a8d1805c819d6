"""Which files are brought for which weights, from NGC or from a folder."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from conversion.catalog import Format, License, NgcVersion, Precision, RemoteFile, Weights
from conversion.errors import FetchError
from conversion.fetch import Fetcher
from conversion.lock import converter_lock
from conversion.ngc import find_tao_converter
from conversion.selection import license_accepted
from tests.conversion.downloads import FOLDER, NETWORK, write_files
from tests.fakes.ngc_server import NgcServer

CONVERTER = "v5.1.0_8.6.3.1_x86"
NVIDIA = Weights(
    model="facenet",
    name="nvidia",
    format=Format.UFF_ETLT,
    network="model.etlt",
    calibration="int8_calibration.txt",
    precision=Precision.INT8,
    key="nvidia_tlt",
    key_is_public=True,
    license=License(name="the EULA", url="https://example.com/eula", accept=True),
    ngc=NgcVersion("nvidia/tao/facenet:pruned_quantized_v2.0.1", {}),
    folder=None,
    outputs={},
    config="",
    note="",
)
OPEN = replace(NVIDIA, name="open", ngc=None, network="model.onnx", calibration=None)
SIZED = replace(
    NVIDIA,
    ngc=NgcVersion(NVIDIA.ngc.label, {"model.etlt": RemoteFile(size=20_000)}),  # type: ignore[union-attr]
)


@pytest.fixture
def ngc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NgcServer]:
    with NgcServer(write_files(tmp_path / "ngc")) as server:
        monkeypatch.setenv("FACEKIT_NGC_URL", server.url)
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What somebody brought from where there is internet."""
    return write_files(tmp_path / "stick")


def fetch(
    directory: Path, source: Path | None = None, weights: Weights = NVIDIA
) -> tuple[Path, list[str]]:
    said: list[str] = []
    return Fetcher(directory, source, None, said.append).weights(weights), said


def fetch_converter(directory: Path, source: Path | None = None) -> Path:
    return Fetcher(directory, source, None, lambda _: None).tao_converter(CONVERTER)


def test_weights_from_ngc_lie_as_its_command_line_leaves_them(
    ngc: NgcServer, tmp_path: Path
) -> None:
    network, said = fetch(tmp_path / "weights")
    assert network == tmp_path / "weights" / FOLDER / "model.etlt"
    assert network.with_name("int8_calibration.txt").is_file()
    assert network.read_bytes() == NETWORK
    assert said[0] == "fetching model.etlt of nvidia/tao/facenet:pruned_quantized_v2.0.1"
    assert said[1].endswith("20.0 kB, complete")


def test_weights_that_are_there_are_not_asked_for_again(ngc: NgcServer, tmp_path: Path) -> None:
    fetch(tmp_path)
    ngc.requests.clear()
    assert fetch(tmp_path)[1] == []
    assert ngc.requests == []


def test_weights_there_with_another_digest_are_fetched_again(
    ngc: NgcServer, tmp_path: Path
) -> None:
    target = tmp_path / FOLDER / "model.etlt"
    target.parent.mkdir()
    target.write_text("something else")
    _, said = fetch(tmp_path, weights=replace(SIZED, calibration=None))
    assert target.read_bytes() == NETWORK
    assert said[0] == f"{target}: it has 14 bytes, expected 20000; fetching it again"


def test_weights_without_a_calibration_cache_ask_for_one_file(
    ngc: NgcServer, tmp_path: Path
) -> None:
    network, _ = fetch(tmp_path, weights=replace(NVIDIA, calibration=None))
    assert [path.name for path in network.parent.iterdir()] == ["model.etlt"]
    assert {entry["path"].split("/")[-1].split("?")[0] for entry in ngc.requests} == {"model.etlt"}


def test_second_file_of_weights_carries_on_after_a_failed_run(
    ngc: NgcServer, tmp_path: Path
) -> None:
    ngc.script = {"rules": [{"path": "*int8*", "times": 1, "status": 403}]}
    with pytest.raises(FetchError, match="int8_calibration.txt of nvidia/tao/facenet"):
        fetch(tmp_path)
    ngc.requests.clear()
    fetch(tmp_path)
    assert not any("model.etlt" in entry["path"] for entry in ngc.requests)


def test_converter_from_ngc_is_executable(ngc: NgcServer, tmp_path: Path) -> None:
    tool = fetch_converter(tmp_path, None)
    assert tool == tmp_path / "tao-converter_v5.1.0_8.6.3.1_x86" / "tao-converter"
    assert os.access(tool, os.X_OK)


@pytest.mark.parametrize("name", [f"tao-converter_{CONVERTER}", f"tao-converter_v{CONVERTER}"])
def test_converter_from_a_folder_is_found_by_either_name(
    folder: Path, tmp_path: Path, name: str
) -> None:
    (folder / f"tao-converter_{CONVERTER}").rename(folder / name)
    tool = fetch_converter(tmp_path / "weights", folder)
    assert tool.stat().st_mode & stat.S_IXUSR and tool.is_relative_to(tmp_path / "weights")


@pytest.mark.parametrize("name", [f"tao-converter_{CONVERTER}", f"tao-converter_v{CONVERTER}"])
def test_converter_that_is_there_is_found_by_either_name_and_made_executable(
    folder: Path, name: str
) -> None:
    (folder / f"tao-converter_{CONVERTER}").rename(folder / name)
    tool = folder / name / "tao-converter"
    tool.chmod(0o644)
    assert find_tao_converter(CONVERTER, folder) == tool
    assert os.access(tool, os.X_OK)


def test_converter_that_is_there_without_its_mode_is_not_fetched_again(
    ngc: NgcServer, folder: Path
) -> None:
    (folder / f"tao-converter_{CONVERTER}" / "tao-converter").chmod(0o644)
    tool = fetch_converter(folder, None)
    assert os.access(tool, os.X_OK) and ngc.requests == []


def test_converter_of_another_version_or_without_content_is_not_found(folder: Path) -> None:
    assert find_tao_converter("v5.1.0_other", folder) is None
    (folder / f"tao-converter_{CONVERTER}" / "tao-converter").write_bytes(b"")
    assert find_tao_converter(CONVERTER, folder) is None


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
@pytest.mark.usefixtures("public_path")
def test_converter_of_another_user_without_its_mode_says_what_to_run(folder: Path) -> None:
    tool = folder / f"tao-converter_{CONVERTER}" / "tao-converter"
    tool.chmod(0o644)
    os.seteuid(1234)
    try:
        with pytest.raises(FetchError, match=f"not executable: .*chmod 755 {tool}"):
            find_tao_converter(CONVERTER, folder)
    finally:
        os.seteuid(0)


def test_weights_from_a_folder_are_copied(folder: Path, tmp_path: Path) -> None:
    network, said = fetch(tmp_path / "weights", folder)
    assert network == tmp_path / "weights" / FOLDER / "model.etlt"
    assert network.read_bytes() == NETWORK
    assert len(said) == 2 and f"copied from {folder / FOLDER / 'model.etlt'}" in said[0]
    assert sorted(path.name for path in network.parent.iterdir()) == [
        "int8_calibration.txt",
        "model.etlt",
    ]


@pytest.mark.parametrize("nested", [f"copy/{FOLDER}", f"{FOLDER}/{FOLDER}"])
def test_weights_one_folder_deeper_are_found(folder: Path, tmp_path: Path, nested: str) -> None:
    (folder / FOLDER).rename(folder / "aside")
    (folder / nested).parent.mkdir(exist_ok=True)
    (folder / "aside").rename(folder / nested)
    assert fetch(tmp_path / "weights", folder)[0].read_bytes() == NETWORK


def test_weights_of_the_folder_itself_are_found(folder: Path, tmp_path: Path) -> None:
    assert fetch(tmp_path / "weights", folder / FOLDER)[0].read_bytes() == NETWORK


def test_weights_copied_again_are_left_alone(folder: Path, tmp_path: Path) -> None:
    fetch(tmp_path / "weights", folder)
    assert fetch(tmp_path / "weights", folder)[1] == []


def test_weights_of_a_folder_win_over_older_ones(folder: Path, tmp_path: Path) -> None:
    fetch(tmp_path / "weights", folder)
    (folder / FOLDER / "model.etlt").write_text("newer")
    assert fetch(tmp_path / "weights", folder)[0].read_text() == "newer"


def test_folder_for_downloads_may_be_the_folder_itself(folder: Path) -> None:
    assert fetch(folder, folder)[0].read_bytes() == NETWORK


def test_folder_without_the_weights_says_what_it_holds(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / FOLDER)
    with pytest.raises(FetchError) as caught:
        fetch(tmp_path / "weights", folder)
    assert f"looked for {folder / FOLDER / 'model.etlt'}" in str(caught.value)
    assert f"{folder} contains tao-converter_{CONVERTER}/" in str(caught.value)
    assert "ngc registry model download-version nvidia/tao/facenet:pruned_quantized_v2.0.1" in str(
        caught.value
    )


def test_folder_with_two_that_differ_names_both(folder: Path, tmp_path: Path) -> None:
    (folder / FOLDER / "old").mkdir()
    (folder / FOLDER / "old" / "model.etlt").write_text("old")
    with pytest.raises(FetchError, match=r"these differ, leave one .*/model.etlt, .*/old/model"):
        fetch(tmp_path / "weights", folder)


def test_folder_with_half_a_file_is_refused_and_copies_nothing(
    folder: Path, tmp_path: Path
) -> None:
    (folder / FOLDER / "model.etlt").write_bytes(NETWORK[:500])
    with pytest.raises(FetchError, match="it has 500 bytes, expected 20000"):
        fetch(tmp_path / "weights", folder, SIZED)
    assert not (tmp_path / "weights").exists()


def test_network_of_this_machine_stays_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("network")
    network, said = fetch(tmp_path / "weights", weights=replace(OPEN, folder=tmp_path))
    assert network == tmp_path / "model.onnx" and said == []


def test_network_of_this_machine_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"facenet=open: .*/model.onnx is not a file; .* is empty"):
        fetch(tmp_path / "weights", weights=replace(OPEN, folder=tmp_path))


def test_network_of_this_machine_that_is_empty_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(FetchError, match=r"facenet=open: .*/model.onnx is empty"):
        fetch(tmp_path / "weights", weights=replace(OPEN, folder=tmp_path))


def test_second_download_to_a_folder_waits_for_the_first(ngc: NgcServer, tmp_path: Path) -> None:
    said: list[str] = []
    waits = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        waits.set()

    def second() -> None:
        Fetcher(tmp_path, None, None, say).weights(NVIDIA)

    with converter_lock(tmp_path, wait=True, say=print):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10)
        assert said[0].startswith(f"waiting for another converter on {tmp_path}: process ")
        assert ngc.requests == []
    thread.join(10)
    assert (tmp_path / FOLDER / "model.etlt").read_bytes() == NETWORK


def test_folder_for_downloads_that_is_a_file_says_so(ngc: NgcServer, tmp_path: Path) -> None:
    (tmp_path / "weights").touch()
    with pytest.raises(FetchError, match="cannot be written: Not a directory.*FACEKIT_WEIGHTS_DIR"):
        fetch(tmp_path / "weights")
    assert ngc.requests == []


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_folder_for_downloads_of_another_user_says_whose_and_what_to_set(
    ngc: NgcServer, public_path: Path
) -> None:
    weights = public_path / "weights"
    weights.mkdir()
    os.chown(weights, 4321, 4322)
    os.seteuid(1234)
    try:
        with pytest.raises(FetchError) as caught:
            fetch(weights)
    finally:
        os.seteuid(0)
    assert "cannot be written: Permission denied" in str(caught.value)
    assert "in .env, FACEKIT_UID=4321 and FACEKIT_GID=4322" in str(caught.value)


@pytest.mark.parametrize(("text", "accepted"), [("yes", True), ("TRUE", True), ("", False)])
def test_license_is_accepted_by_the_variable(text: str, accepted: bool) -> None:
    assert license_accepted({"FACEKIT_ACCEPT_EULA": text}) is accepted


def test_license_variable_of_another_word_is_refused() -> None:
    with pytest.raises(FetchError, match="FACEKIT_ACCEPT_EULA: expected yes or no, got 'maybe'"):
        license_accepted({"FACEKIT_ACCEPT_EULA": "maybe"})
