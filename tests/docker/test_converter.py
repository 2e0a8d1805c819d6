"""The converter end to end: the real image, Compose, a play NGC, and tools that check."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from facekit.engines.manifest import engine_path
from tests.docker import engine
from tests.docker.converter_setup import (
    FACENET,
    TOOL,
    USER,
    Converter,
)
from tests.fakes.ngc_scenarios import KEY, SCENARIOS

pytest_plugins = ("tests.docker.converter_fixtures",)
SLOW_DOWNLOAD = {"rules": [{"path": "*model.etlt", "on": "storage", "bytes_per_second": 2000}]}


# A run that goes well.


def test_all_makes_both_engines_and_says_so(made: Converter) -> None:
    facenet, fpenet = made.engine("facenet"), made.engine("fpenet")
    assert (facenet.weights, facenet.precision, facenet.tensorrt) == ("nvidia", "int8", "8.6.3")
    assert (fpenet.weights, fpenet.precision, fpenet.gpu) == ("nvidia", "fp16", "NVIDIA A10")
    assert made.leftovers() == []


def test_all_gives_the_files_to_the_user(made: Converter) -> None:
    for path in (engine_path(made.repository, "facenet"), made.weights / FACENET / "model.etlt"):
        assert (path.stat().st_uid, path.stat().st_gid) == (USER, USER)


def test_tools_are_called_as_documented_and_without_the_key(made: Converter) -> None:
    facenet = next(argv for argv in made.built() if "-d" in argv and "3,416,736" in argv)
    assert "-p" not in facenet
    assert facenet[facenet.index("-o") + 1] == "output_bbox/BiasAdd,output_cov/Sigmoid"
    assert all(call["secrets"] == [] for call in made.calls())


def test_second_run_builds_nothing(made: Converter) -> None:
    before = made.built()
    done = made.all()
    assert done.code == 0, done.output
    assert made.built() == before
    assert "up to date" in done


def test_forced_run_builds_again(converter_image: str, made: Converter) -> None:
    before = len(made.built())
    assert made.run("build", "--force", "facenet").code == 0
    assert len(made.built()) == before + 1


def test_plan_in_the_image_says_what_fits(made: Converter) -> None:
    done = made.run("plan")
    assert done.code == 0, done.output
    assert "8.6.3" in done
    assert "NVIDIA A10" in done


def test_open_weights_need_no_network(converter: Converter) -> None:
    converter.ngc.stop()
    done = converter.all("--weights", "open")
    assert done.code == 0, done.output
    assert converter.engine("facenet").config == "open"
    assert not (converter.weights / TOOL).exists()


def test_downloads_of_another_machine_need_no_network(
    converter: Converter, downloads: Path
) -> None:
    converter.ngc.stop()
    done = converter.run(
        *("all", "--device", "cpu", "--from", "/from"),
        options=("--volume", f"{downloads}:/from:ro"),
    )
    assert done.code == 0, done.output
    assert converter.engine("facenet").weights == "nvidia"


# Downloads that go wrong, and are mended by trying again.


@pytest.mark.parametrize(
    "scenario", ["direct", "busy", "ailing", "cut-once", "reset-once", "no-resume", "trickle"]
)
def test_download_with_a_passing_fault_is_whole_in_the_end(
    converter: Converter, downloads: Path, scenario: str
) -> None:
    converter.ngc.script = SCENARIOS[scenario]
    done = converter.run("fetch", "facenet")
    assert done.code == 0, done.output
    wanted = (downloads / FACENET / "model.etlt").read_bytes()
    assert (converter.weights / FACENET / "model.etlt").read_bytes() == wanted
    assert not list(converter.weights.rglob("*.part"))


def test_download_that_was_cut_goes_on_where_it_stopped(converter: Converter) -> None:
    converter.ngc.script = SCENARIOS["cut-once"]
    assert converter.run("fetch", "facenet").code == 0
    ranges = [
        request["headers"].get("Range")
        for request in converter.ngc.requests
        if request["on"] == "storage" and "model.etlt" in request["path"]
    ]
    assert ranges == [None, "bytes=1000-"]


# Downloads that can't be had.


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("locked", ("401", "NGC_API_KEY")),
        ("forbidden", ("403", "terms not accepted")),
        ("missing", ("404", "no such version")),
        ("broken", ("500", "broken")),
        ("busy-for-ever", ("429",)),
        ("sign-in-page", ("the answer is a web page, not the file",)),
    ],
)
def test_download_that_is_refused_is_explained(
    converter: Converter, scenario: str, words: tuple[str, ...]
) -> None:
    converter.ngc.script = SCENARIOS[scenario]
    done = converter.all("facenet")
    assert done.code == 1, done.output
    for each in ("model.etlt", "/v2/models/nvidia/tao/facenet", *words):
        assert each in done, done.output
    assert "Traceback" not in done.output
    assert {name for name in converter.made() if name.endswith(".plan")} == set()


def test_wrong_checksum_is_refused_and_not_kept(
    converter: Converter, downloads: Path, tmp_path: Path
) -> None:
    digest = hashlib.sha256((downloads / FACENET / "model.etlt").read_bytes()).hexdigest()
    models = tmp_path / "pinned.yaml"
    models.write_text(
        "models:\n  facenet:\n    weights:\n      pinned:\n"
        "        ngc: nvidia/tao/facenet:pruned_quantized_v2.0.1\n"
        f"        files: {{ model.etlt: {{ sha256: {digest} }} }}\n"
        "        file: model.etlt\n        format: uff-etlt\n        key: nvidia_tlt\n"
        "        precision: fp16\n        license: nvidia-model-eula\n"
    )
    words = ("fetch", "--models", "/pinned.yaml", "--weights", "facenet=pinned", "facenet")
    mount = ("--volume", f"{models}:/pinned.yaml:ro")
    converter.ngc.script = SCENARIOS["corrupt"]
    done = converter.run(*words, options=mount)
    assert done.code == 1, done.output
    assert digest in done
    assert not (converter.weights / FACENET / "model.etlt").exists()
    converter.ngc.script = SCENARIOS["corrupt-once"]
    done = converter.run(*words, options=mount)
    assert done.code == 0, done.output


def test_server_that_is_away_is_named(converter: Converter) -> None:
    converter.ngc.stop()
    done = converter.run("fetch", "facenet")
    assert done.code == 1, done.output
    assert "--from" in done


def test_license_that_is_not_accepted_is_named(converter: Converter) -> None:
    done = converter.all(FACEKIT_ACCEPT_EULA="")
    assert done.code == 2, done.output
    assert "https://developer.nvidia.com/deep-learning-models-license-agreement" in done
    assert "--accept-eula" in done
    assert converter.ngc.requests == []


def test_one_model_that_fails_does_not_stop_the_other(converter: Converter) -> None:
    converter.ngc.script = {"rules": [{"path": "*facenet*", "status": 404, "body": "gone"}]}
    done = converter.all()
    assert done.code == 1, done.output
    assert converter.engine("fpenet").weights == "nvidia"
    assert not engine_path(converter.repository, "facenet").exists()


# The key.


def test_key_goes_to_ngc_alone_and_is_printed_nowhere(converter: Converter, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o444)
    converter.compose.env["NGC_API_KEY_FILE"] = str(path)
    converter.ngc.script = {**SCENARIOS["locked"], **SLOW_DOWNLOAD}
    process = converter.start("all", "--device", "cpu", "facenet")
    container = converter.container()
    # While it runs: what `docker inspect` and the list of processes show.
    assert KEY not in json.dumps(engine.inspect(container))
    assert KEY not in engine.docker("top", container, "-eo", "pid,args")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert KEY not in output
    assert all(call["secrets"] == [] for call in converter.calls())
    for path in (*converter.repository.rglob("*"), *converter.weights.rglob("*")):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path
    with_key = {
        request["on"] for request in converter.ngc.requests if KEY in str(request["headers"])
    }
    assert with_key == {"api"}


def test_image_holds_no_key_no_network_and_no_engine(converter_image: str) -> None:
    history = engine.docker("history", "--no-trunc", converter_image)
    assert "NGC_API_KEY" not in history
    find = "find / -xdev ( -name *.etlt -o -name *.plan -o -name .env -o -name tao-converter )"
    found = engine.docker(
        *("run", "--rm", "--user", "0", "--entrypoint", "find", converter_image),
        *find.split()[1:],
    )
    assert found == ""


def test_image_tells_what_it_is_and_runs_as_nobody_special(converter_image: str) -> None:
    config = engine.inspect(converter_image)["Config"]
    assert config["User"] == "1000:1000"
    assert config["Labels"]["org.opencontainers.image.title"] == "facekit converter"
    assert config["Entrypoint"] == ["python3", "-m", "conversion"]
    assert config["Cmd"] == ["all"]
