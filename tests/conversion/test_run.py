"""What each command does, and that one model's failure stops no other."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from conversion import paths
from conversion.catalog import Job
from conversion.catalog_file import load_catalog
from conversion.errors import ConversionError, FetchError, LockedError
from conversion.lock import converter_lock
from conversion.plan import Options
from conversion.run import Result, run
from conversion.selection import select
from facekit.engines.machine import Gpu, Machine
from facekit.engines.manifest import engine_path, read_manifest
from tests.conversion.conftest import REPOSITORY, ROOT
from tests.fakes import networks

FAKES = ROOT / "tests" / "fakes"
GPUS = (Gpu("NVIDIA A10", "8.6"),)
A10 = Machine("8.6.3", GPUS, "x86_64")
CONVERTER = "v5.1.0_8.6.3.1_x86"
FACENET = "facenet_vpruned_quantized_v2.0.1"


class Kit:
    """A model repository, a folder of what NGC has, and NVIDIA's tools."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder, list[str]()
        self.repository, self.weights = folder / "models", folder / "weights"
        self.ngc, self.log = folder / "ngc", folder / "calls"
        for model in ("facenet", "fpenet"):
            version = self.repository / model / "1"
            version.mkdir(parents=True)
            shutil.copy(REPOSITORY / model / "1" / "model.onnx", version)
        for name, content in {
            f"{FACENET}/model.etlt": networks.facenet_etlt(),
            f"{FACENET}/int8_calibration.txt": networks.calibration_cache(),
            "fpenet_vdeployable_v3.0/model.etlt": networks.fpenet_etlt(),
            f"tao-converter_{CONVERTER}/tao-converter": (FAKES / "tao_converter.py").read_bytes(),
        }.items():
            path = self.ngc / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def jobs(self, *selections: str, models: tuple[Path, ...] = ()) -> list[Job]:
        catalog = load_catalog(models, repository=self.repository)
        return select(catalog, selections or ("open",), (), {})

    def run(
        self,
        command: str,
        *selections: str,
        machine: Machine = A10,
        models: tuple[Path, ...] = (),
        **options: object,
    ) -> Result:
        given = {"source": self.ngc, "accepted": True, **options}
        chosen = Options(self.repository, self.weights, **given)  # type: ignore[arg-type]
        return run(
            command, self.jobs(*selections, models=models), chosen, machine, self.said.append
        )

    def tools(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line)["tool"] for line in lines]

    def has_engine(self, model: str) -> bool:
        return engine_path(self.repository, model).is_file()


def untimed(result: Result) -> list[tuple[str, str]]:
    """What was done and how it ended, without how long it took."""
    return [(what, re.sub(r" in \d:\d\d$", "", end)) for what, _, end in result.rows]


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    monkeypatch.setenv("FACEKIT_TRTEXEC", str(FAKES / "trtexec.py"))
    monkeypatch.setenv("FAKE_TOOL_LOG", str(tmp_path / "calls"))
    return Kit(tmp_path)


def test_fetch_brings_the_files_and_builds_nothing(kit: Kit) -> None:
    nothing = Machine(None, (), "x86_64")
    assert not kit.run("fetch", "nvidia", machine=nothing).failed
    assert (kit.weights / FACENET / "model.etlt").is_file()
    assert os.access(kit.weights / f"tao-converter_{CONVERTER}" / "tao-converter", os.X_OK)
    assert kit.tools() == []


def test_build_takes_what_was_fetched_before_and_leaves_what_fits(kit: Kit) -> None:
    kit.run("fetch", "nvidia")
    kit.ngc.rename(kit.folder / "gone")
    done = kit.run("build", "nvidia", source=None)
    assert not done.failed, kit.said
    assert kit.tools() == ["tao-converter", "trtexec"] * 2
    assert "facenet: there is no engine yet" in kit.said
    assert kit.run("build", "nvidia", source=None).rows[0] == ("facenet", "nvidia", "up to date")
    assert len(kit.tools()) == 4


def test_tensorrt_11_builds_the_file_in_half_precision_and_leaves_what_fits(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", "110201")
    machine = Machine("11.2.1", GPUS, "x86_64")
    for model in ("facenet", "fpenet"):
        half = REPOSITORY / model / "1" / "model.fp16.onnx"
        shutil.copy(half, kit.repository / model / "1")
    done = kit.run("build", machine=machine)
    assert untimed(done)[:2] == [
        (model, "built, FP16 for NVIDIA A10") for model in ("facenet", "fpenet")
    ], kit.said
    manifest = read_manifest(kit.repository, "facenet")
    assert manifest is not None and manifest.source == "model.fp16.onnx"
    assert [end for _, _, end in kit.run("build", machine=machine).rows] == ["up to date"] * 2


def test_build_finds_the_tool_where_ngc_s_command_line_leaves_it(kit: Kit) -> None:
    kit.run("fetch", "nvidia")
    tool = kit.weights / f"tao-converter_v{CONVERTER}"
    (kit.weights / f"tao-converter_{CONVERTER}").rename(tool)
    (tool / "tao-converter").chmod(0o644)
    assert not kit.run("build", "facenet=open", "fpenet=nvidia", source=None).failed
    assert "tao-converter" in kit.tools()


@pytest.mark.parametrize(
    ("selection", "words"),
    [("nvidia", "are not complete; first: python -m conversion fetch"), ("own", "there is no tao")],
)
def test_build_without_what_is_built_from_names_the_command(
    kit: Kit, own: Path, selection: str, words: str
) -> None:
    models = (own,) if selection == "own" else ()
    chosen = ("facenet=mine", "fpenet=open") if models else (selection,)
    assert words in kit.run("build", *chosen, models=models, source=None).rows[0][2]
    assert not kit.has_engine("facenet")


@pytest.mark.parametrize("missing", [FACENET, "models/facenet/1/model.onnx"])
def test_failure_of_one_model_stops_no_other(
    kit: Kit, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == FACENET:
        shutil.rmtree(kit.ngc / FACENET)
        words = f"FAILED: model.etlt of nvidia/tao/facenet:{FACENET.partition('_v')[2]}: looked"
    else:
        # What a tool says about a network that is not one.
        (kit.folder / missing).write_bytes(b"not a network")
        words = "FAILED: trtexec.py"
    which = "nvidia" if missing == FACENET else "open"
    result = kit.run("all", which, device="cpu")
    assert result.failed
    assert result.rows[0][2].startswith(words)
    # What has failed is not reported a second time.
    assert untimed(result)[1:] == [
        ("fpenet", "built, FP16 for NVIDIA A10"),
        ("pipelines", "0 files written"),
        ("verify", "all else fits"),
    ]


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has a GPU")
def test_pipelines_that_fail_do_not_stop_the_check(kit: Kit) -> None:
    (kit.repository / "photo_gray").mkdir()
    result = kit.run("all")
    assert untimed(result)[3:] == [("verify", "all else fits")]
    assert result.failed and "where CUDA is" in result.rows[2][2]


def test_problems_that_the_check_finds_are_failures(kit: Kit) -> None:
    result = kit.run("verify", device="cpu")
    assert result.failed and len(result.rows) >= 2
    assert all(row[2].startswith("FAILED: ") for row in result.rows)


def test_etlt_on_tensorrt_10_fails_before_it_is_fetched(kit: Kit) -> None:
    machine = Machine("10.2.0", GPUS, "x86_64")
    # Nothing is fetched for it, so no license has to be accepted.
    result = kit.run("fetch", "facenet=nvidia", "fpenet=open", machine=machine, accepted=False)
    assert result.rows[0][2].startswith("FAILED: TensorRT 10.2.0 cannot read a UFF or .etlt model")
    assert not list(kit.weights.iterdir())


def test_version_never_tried_is_warned_of(kit: Kit) -> None:
    kit.run("fetch", machine=Machine("12.0.0", GPUS, "x86_64"))
    words = "note: TensorRT 12.0.0 is not in conversion/releases.yaml: treated as Triton 26.10"
    assert kit.said[0].startswith(words)


@pytest.fixture
def own(stanza: Callable[..., Path]) -> Path:
    """FaceNet from an .etlt of somebody's own."""
    return stanza(file="mine.etlt", format="uff-etlt", key="k", precision="fp16", license="mine")


def test_tool_alone_asks_for_its_license(kit: Kit, own: Path) -> None:
    words = (
        "tao-converter, needed for facenet=mine is under the NVIDIA TAO Toolkit Model EULA: "
        "https.*--accept-eula or with FACEKIT_ACCEPT_EULA=yes"
    )
    chosen = ("facenet=mine", "fpenet=open")
    with pytest.raises(FetchError, match=words):
        kit.run("fetch", *chosen, models=(own,), accepted=False)
    assert not list(kit.weights.glob("tao*"))
    kit.run("fetch", *chosen, models=(own,))
    assert not kit.run("fetch", *chosen, models=(own,), accepted=False, source=None).failed


def test_license_not_accepted_stops_everything_before_it_begins(kit: Kit) -> None:
    with pytest.raises(FetchError, match=r"facenet=nvidia is under .*Model EULA"):
        kit.run("all", "facenet=nvidia", "fpenet=open", accepted=False)
    assert kit.tools() == [] and not list(kit.weights.glob("*/model.etlt"))


def test_license_is_not_asked_for_where_nothing_is_fetched(kit: Kit) -> None:
    kit.run("fetch", "nvidia")
    kit.run("build", "nvidia")
    assert not kit.run("all", "nvidia", accepted=False, device="cpu").failed


def test_lock_held_by_another_stops_everything(kit: Kit) -> None:
    with converter_lock(kit.repository, wait=True, say=print):
        with pytest.raises(LockedError):
            kit.run("build", wait=False)
    assert kit.tools() == []


def test_run_that_waited_builds_only_what_is_still_missing(kit: Kit) -> None:
    kit.run("build")
    before, results = len(kit.tools()), list[Result]()
    engine = engine_path(kit.repository, "facenet")
    aside = engine.rename(kit.folder / "aside")
    second = threading.Thread(target=lambda: results.append(kit.run("build")))
    with converter_lock(kit.repository, wait=True, say=print):
        second.start()
        while not any("waiting for another converter" in line for line in kit.said):
            second.join(0.01)
        aside.rename(engine)
    second.join()
    assert results[0].rows[0][2] == "up to date" and len(kit.tools()) == before


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Machine(None, (), "x86_64"), "there is no TensorRT here; engines are built in the"),
        (Machine("8.6.3", (), "x86_64"), "there is no NVIDIA GPU here, and an engine is built on"),
        (Machine("8.6.3", (), "x86_64", ("error 804",)), "no NVIDIA GPU here (error 804), and"),
    ],
)
def test_machine_that_can_build_nothing_is_told_before_it_begins(
    kit: Kit, machine: Machine, words: str
) -> None:
    with pytest.raises(ConversionError) as caught:
        kit.run("all", machine=machine)
    assert words in str(caught.value)
    assert not list(kit.weights.iterdir())


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(
    ("owner", "remedy"),
    [
        (4321, "in .env, FACEKIT_UID=4321 and FACEKIT_GID=0"),
        (0, "on the host, sudo chown -R 1234:0 that folder"),
        (1234, "on the host, chmod u+rwx that folder"),
    ],
)
def test_folder_that_may_not_be_written_says_what_to_do(
    public_path: Path, owner: int, remedy: str
) -> None:
    folder = public_path / "shut"
    folder.mkdir()
    os.chown(folder, owner, 0)
    folder.chmod(0o555)
    os.seteuid(1234)
    try:
        with pytest.raises(ConversionError) as caught:
            paths.check_writable(folder)
    finally:
        os.seteuid(0)
    assert str(caught.value).startswith(f"{folder}: cannot be written: Permission denied; this is")
    assert remedy in str(caught.value)


def test_folder_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConversionError, match="weights: cannot be written: Not a directory"):
        paths.check_writable(tmp_path / "file" / "weights")
    paths.check_writable(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_key_is_not_in_the_options_as_text() -> None:
    assert "nvapi-1" not in repr(Options(Path("a"), Path("b"), key="nvapi-1"))
