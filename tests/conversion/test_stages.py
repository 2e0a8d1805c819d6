"""The order of the stages, and that one model's failure stops no other."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from conversion import catalog_file, places
from conversion.catalog import Job, Weights
from conversion.choice import choose
from conversion.errors import BuildError, ConversionError, FetchError, LockedError
from conversion.fetch import Fetched
from conversion.stages import Options, Result, run
from facekit.engines.machine import Gpu, Machine

A10 = Machine("8.6.3", (Gpu("NVIDIA A10", "8.6"),), "x86_64")
DONE = ["lock", "fetch facenet", "build facenet", "fetch fpenet", "build fpenet", "free"]


@dataclass
class Stages:
    """Stands in for the modules that do the work, and notes what is asked of them."""

    repository: Path
    calls: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    up_to_date: set[str] = field(default_factory=set)
    failing: dict[str, Exception] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    tools: list[Path | None] = field(default_factory=list)
    held: list[Path] = field(default_factory=list)
    held_in_builds: list[list[Path]] = field(default_factory=list)
    verified: list[list[str]] = field(default_factory=list)

    def _call(self, what: str) -> None:
        self.calls.append(what)
        if what in self.failing:
            raise self.failing[what]

    def fetch_weights(self, weights: Weights, **_: object) -> Fetched:
        self._call(f"fetch {weights.model}")
        return Fetched(self.repository / "network", None)

    def fetch_tao_converter(self, version: str, **_: object) -> Path:
        self._call(f"fetch {version}")
        return Path("/tools/tao-converter")

    def reason_to_build(self, job: Job, *_: object) -> str | None:
        return None if job.model.name in self.up_to_date else "there is no engine"

    def build_engine(
        self, job: Job, fetched: Fetched, *, tao_converter: Path | None, **_: object
    ) -> object:
        self._call(f"build {job.model.name}")
        self.held_in_builds.append([*self.held])
        self.tools.append(tao_converter)
        return SimpleNamespace(precision="int8", gpu="NVIDIA A10")

    def serialize_pipelines(self, repository: Path, device: str, say: object) -> list[Path]:
        self._call(f"serialize {device}")
        return [repository / "a.dali"]

    def verify(
        self, repository: Path, jobs: Sequence[Job], *_: object, device: str | None
    ) -> list[str]:
        self.verified.append([job.model.name for job in jobs])
        self._call(f"verify {device}")
        return self.problems

    @contextlib.contextmanager
    def converter_lock(self, folder: Path, *, wait: bool, say: object) -> Iterator[None]:
        self.held.append(folder)
        if folder == self.repository:
            self._call("lock" if wait else "lock at once")
        yield
        self.held.remove(folder)
        if folder == self.repository:
            self._call("free")


@pytest.fixture
def stages(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Stages:
    stages = Stages(repository)
    for name in ("build", "serialize", "verify", "lock"):
        monkeypatch.setitem(sys.modules, f"conversion.{name}", stages)
    monkeypatch.setattr("conversion.stages.reason_to_build", stages.reason_to_build)
    monkeypatch.setattr("conversion.fetch.fetch_weights", stages.fetch_weights)
    monkeypatch.setattr("conversion.fetch.fetch_tao_converter", stages.fetch_tao_converter)
    return stages


def act(
    stages: Stages,
    command: str,
    *selections: str,
    machine: Machine = A10,
    accepted: bool = True,
    source: Path | None = None,
    device: str = "gpu",
    wait: bool = True,
) -> Result:
    repository = stages.repository
    jobs = choose(catalog_file.load(repository=repository), selections or ("open",), (), {})
    options = Options(
        repository,
        repository.parent / "weights",
        source=source,
        accepted=accepted,
        device=device,
        wait=wait,
    )
    return run(command, jobs, options, machine, stages.said.append)


def test_all_does_every_stage_in_order_under_the_lock(stages: Stages) -> None:
    result = act(stages, "all")
    assert stages.calls == [*DONE[:-1], "serialize gpu", "verify gpu", "free"]
    assert not result.failed
    assert result.text().splitlines() == [
        "facenet    open  built, INT8 for NVIDIA A10",
        "fpenet     open  built, INT8 for NVIDIA A10",
        "pipelines  gpu   1 file written",
        "verify           all fits",
    ]


@pytest.mark.parametrize(
    ("command", "calls"),
    [
        ("fetch", ["fetch facenet", "fetch fpenet"]),
        ("build", ["lock", "build facenet", "build fpenet", "free"]),
        ("serialize", ["lock", "serialize gpu", "free"]),
        ("verify", ["verify gpu"]),
    ],
)
def test_command_does_its_own_stage_alone(
    stages: Stages, command: str, calls: Sequence[str]
) -> None:
    assert not act(stages, command).failed
    assert stages.calls == calls


def test_engine_that_is_up_to_date_is_left_alone(stages: Stages) -> None:
    stages.up_to_date = {"facenet"}
    result = act(stages, "all")
    assert "fetch facenet" not in stages.calls and "build facenet" not in stages.calls
    assert result.rows[0] == ("facenet", "open", "up to date")


def test_reason_to_build_is_said(stages: Stages) -> None:
    act(stages, "build")
    assert "facenet: there is no engine" in stages.said


@pytest.mark.parametrize(
    "failure",
    [
        ("fetch facenet", FetchError("model.etlt: NGC said 404")),
        ("build facenet", BuildError("facenet: no engine came\nlast line")),
        ("build facenet", OSError("no space left")),
    ],
)
def test_failure_of_one_model_stops_no_other(
    stages: Stages, failure: tuple[str, Exception]
) -> None:
    stages.failing = dict([failure])
    result = act(stages, "all")
    assert result.failed
    assert [call for call in stages.calls if "fpenet" in call] == ["fetch fpenet", "build fpenet"]
    # What has failed is not told a second time.
    assert stages.verified == [["fpenet"]]
    assert result.rows[-1] == ("verify", "", "all else fits")
    assert stages.calls[-3:] == ["serialize gpu", "verify gpu", "free"]
    words = str(failure[1]).removeprefix("facenet: ")
    assert result.rows[0] == ("facenet", "open", f"FAILED: {words.splitlines()[0]}")
    assert f"facenet: {words}" in stages.said


def test_pipelines_that_fail_do_not_stop_the_check(stages: Stages) -> None:
    stages.failing = {"serialize gpu": ConversionError("no CUDA here")}
    result = act(stages, "all")
    assert result.failed and "verify None" in stages.calls
    assert [row[2] for row in result.rows if row[0] in ("pipelines", "verify")] == [
        "FAILED: no CUDA here",
        "all else fits",
    ]


def test_nothing_is_checked_where_everything_failed(stages: Stages) -> None:
    stages.failing = {
        "build facenet": BuildError("no"),
        "build fpenet": BuildError("no"),
        "serialize gpu": ConversionError("no"),
    }
    assert [row[0] for row in act(stages, "all").rows] == ["facenet", "fpenet", "pipelines"]
    assert stages.verified == []


def test_build_folder_is_held_while_an_engine_is_built(stages: Stages) -> None:
    act(stages, "build")
    builds_in = stages.repository.parent / "weights" / "build"
    assert stages.held_in_builds == [[stages.repository, builds_in]] * 2
    assert stages.held == []


def test_problems_that_the_check_finds_are_failures(stages: Stages) -> None:
    stages.problems = ["facenet: dims differ", "fpenet: stale"]
    result = act(stages, "verify")
    assert result.failed
    assert [row[2] for row in result.rows] == [
        "FAILED: facenet: dims differ",
        "FAILED: fpenet: stale",
    ]


def test_check_that_breaks_is_a_failure(stages: Stages) -> None:
    stages.failing = {"verify gpu": OSError("gone")}
    assert act(stages, "verify").rows == [("verify", "", "FAILED: gone")]


def test_etlt_gets_the_tool_of_this_tensorrt(stages: Stages) -> None:
    act(stages, "all", "nvidia")
    assert stages.calls[:4] == [
        "lock",
        "fetch facenet",
        "fetch v5.1.0_8.6.3.1_x86",
        "build facenet",
    ]
    assert stages.tools == [Path("/tools/tao-converter")] * 2


def test_etlt_on_tensorrt_10_fails_before_it_is_fetched(stages: Stages) -> None:
    machine = Machine("10.2.0", A10.gpus, "x86_64")
    result = act(stages, "all", "facenet=nvidia", "fpenet=open", machine=machine)
    assert [call for call in stages.calls if "facenet" in call] == []
    assert "build fpenet" in stages.calls
    assert result.rows[0][2].startswith("FAILED: TensorRT 10.2.0 cannot read a UFF or .etlt model")


def test_version_never_tried_is_warned_of(stages: Stages) -> None:
    act(stages, "all", machine=Machine("12.0.0", A10.gpus, "x86_64"))
    assert (
        "warning: facenet: TensorRT 12.0.0 is not in conversion/releases.yaml; known"
        in stages.said[0]
    )


def test_build_without_what_is_built_from_names_the_command(stages: Stages) -> None:
    result = act(stages, "build", "nvidia")
    assert "first: python -m conversion fetch" in result.rows[0][2]
    assert not [call for call in stages.calls if call.startswith("fetch")]


def test_build_takes_what_was_fetched_before(stages: Stages) -> None:
    weights = stages.repository.parent / "weights"
    for name in (
        "fpenet_vdeployable_v3.0/model.etlt",
        "tao-converter_v5.1.0_8.6.3.1_x86/tao-converter",
    ):
        (weights / name).parent.mkdir(parents=True)
        (weights / name).write_bytes(b"1")
    result = act(stages, "build", "fpenet=nvidia", "facenet=open")
    assert not result.failed
    assert stages.tools == [None, weights / "tao-converter_v5.1.0_8.6.3.1_x86" / "tao-converter"]


def test_build_finds_the_tool_where_ngc_s_command_line_leaves_it(stages: Stages) -> None:
    weights = stages.repository.parent / "weights"
    tool = weights / "tao-converter_vv5.1.0_8.6.3.1_x86" / "tao-converter"
    for path in (weights / "fpenet_vdeployable_v3.0" / "model.etlt", tool):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"1")
    act(stages, "build", "fpenet=nvidia", "facenet=open")
    assert stages.tools == [None, tool]
    assert os.access(tool, os.X_OK)


@pytest.fixture
def own(stages: Stages, stanza: Callable[..., Path]) -> list[Job]:
    """FaceNet from an .etlt of somebody's own."""
    models = stanza(file="mine.etlt", format="uff-etlt", key="k", precision="fp16", license="mine")
    catalog = catalog_file.load([models], repository=stages.repository)
    return choose(catalog, ["facenet=mine"], ["facenet"], {})


def test_tool_alone_asks_for_its_terms(stages: Stages, own: list[Job]) -> None:
    options = Options(stages.repository, stages.repository.parent / "weights")
    words = "tao-converter, needed for facenet.*is under the NVIDIA TAO Toolkit Model EULA: https"
    with pytest.raises(FetchError, match=words):
        run("all", own, options, A10, stages.said.append)
    assert stages.calls == []


def test_tool_that_is_there_asks_for_nothing(stages: Stages, own: list[Job]) -> None:
    options = Options(stages.repository, stages.repository.parent / "weights")
    tool = options.weights_dir / "tao-converter_v5.1.0_8.6.3.1_x86" / "tao-converter"
    tool.parent.mkdir(parents=True)
    tool.write_bytes(b"1")
    assert not run("all", own, options, A10, stages.said.append).failed


def test_terms_of_what_cannot_be_built_here_are_not_asked_for(stages: Stages) -> None:
    machine = Machine("10.2.0", A10.gpus, "x86_64")
    result = act(stages, "all", "facenet=nvidia", "fpenet=open", machine=machine, accepted=False)
    assert result.rows[0][2].startswith("FAILED: TensorRT 10.2.0 cannot read a UFF or .etlt model")


def test_terms_not_accepted_stop_everything_before_it_begins(stages: Stages) -> None:
    with pytest.raises(FetchError, match="Model EULA"):
        act(stages, "all", "facenet=nvidia", "fpenet=open", accepted=False)
    assert stages.calls == []


def test_terms_are_not_asked_for_where_nothing_is_fetched(stages: Stages) -> None:
    stages.up_to_date = {"facenet", "fpenet"}
    assert not act(stages, "all", "nvidia", accepted=False).failed


def test_lock_held_by_another_stops_everything(stages: Stages) -> None:
    stages.failing = {"lock at once": LockedError("converter 12 on host a is at work")}
    with pytest.raises(LockedError):
        act(stages, "all", wait=False)
    assert stages.calls == ["lock at once"]


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Machine(None, (), "x86_64"), "there is no TensorRT here; engines are built in the"),
        (Machine("8.6.3", (), "x86_64"), "there is no NVIDIA GPU here, and an engine is built on"),
        (Machine("8.6.3", (), "x86_64", ("error 804",)), "no NVIDIA GPU here (error 804), and"),
    ],
)
def test_machine_that_can_build_nothing_is_told_before_it_begins(
    stages: Stages, machine: Machine, words: str
) -> None:
    with pytest.raises(ConversionError) as caught:
        act(stages, "all", machine=machine)
    assert words in str(caught.value)
    assert stages.calls == []


def test_fetch_needs_neither_tensorrt_nor_gpu(stages: Stages) -> None:
    assert not act(stages, "fetch", "nvidia", machine=Machine(None, (), "x86_64")).failed
    assert "fetch v5.1.0_8.6.3.1_x86" in stages.calls


@pytest.mark.parametrize(
    ("owner", "remedy"),
    [(1234, "In .env: FACEKIT_UID=1234 and FACEKIT_GID=5678"), (0, "On the host: sudo chown 77")],
)
def test_folder_that_cannot_be_written_says_what_to_do(
    stages: Stages, monkeypatch: pytest.MonkeyPatch, owner: int, remedy: str
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("os.geteuid", lambda: 77)
    found = os.stat_result((0o40755, 0, 0, 1, owner, 5678, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda *_, **__: found)
    with pytest.raises(ConversionError) as caught:
        places.check_writable(stages.repository)
    text = str(caught.value)
    assert f"user 77 may not write there, it belongs to user {owner}. {remedy}" in text


def test_folder_that_cannot_be_made_says_who_tried(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConversionError, match=r"user \d+ can't make it: Not a directory"):
        places.check_writable(tmp_path / "file" / "weights")


def test_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    places.check_writable(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_key_is_not_in_the_options_as_text() -> None:
    assert "nvapi-1" not in repr(Options(Path("a"), Path("b"), key="nvapi-1"))
