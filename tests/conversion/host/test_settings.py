"""Settings of the host driver: environment, .env and the table of releases."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from conversion.host.job import Job, container_options
from conversion.host.settings import Settings, load_settings, read_env_file
from facekit.errors import ConfigError
from tests.conversion.host.setups import (
    KEY,
    ROOT,
)


def test_settings_without_any_are_those_of_the_compose_file(root: Path, settings: Settings) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    converter = compose["services"]["converter"]
    assert converter["image"] == f"${{FACEKIT_CONVERTER_IMAGE:-{settings.image}}}"
    assert converter["build"]["args"] == {
        "TRITON_IMAGE": f"${{TRITON_IMAGE:-{settings.base}}}",
        "DALI_VERSION": f"${{DALI_VERSION:-{settings.dali}}}",
    }
    assert converter["mem_limit"] == f"${{FACEKIT_CONVERTER_MEMORY:-{settings.memory}}}"


def test_container_is_as_hardened_as_the_compose_file_has_it(settings: Settings) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    converter = compose["services"]["converter"]
    options = container_options(settings, Job(["all"], {}, gpu=True), None, terminal=False)
    for name in ("read_only", "cap_drop", "security_opt", "shm_size", "pids_limit"):
        assert options[name] == converter[name], name
    assert [f"{place}:{how}" for place, how in options["tmpfs"].items()] == converter["tmpfs"]


def test_dockerfile_defaults_are_those_of_the_settings(settings: Settings) -> None:
    lines = (ROOT / "Dockerfile.converter").read_text().splitlines()
    assert f"ARG TRITON_IMAGE={settings.base}" in lines
    assert f"ARG DALI_VERSION={settings.dali}" in lines


def test_env_file_with_comments_and_quotes_is_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# a comment\n\nA=1\nB = 'two words'\nC=three # a comment\nD=a#b\n")
    assert read_env_file(path) == {"A": "1", "B": "two words", "C": "three", "D": "a#b"}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (f'A="{KEY}" # my key', KEY),
        (f"A='{KEY}'  # it's mine", KEY),
        ("export A=b", "b"),
        ("A='a # b'", "a # b"),
        ('A="it\'s"', "it's"),
        ("A='half", "'half"),
        ("A=''", ""),
    ],
)
def test_env_file_is_read_as_compose_reads_it(tmp_path: Path, line: str, value: str) -> None:
    path = tmp_path / ".env"
    path.write_text(f"{line}\n")
    assert read_env_file(path) == {"A": value}


@pytest.mark.parametrize(
    ("image", "dali"),
    [
        ("nvcr.io/nvidia/tritonserver:24.03-py3", "1.31.0"),
        ("mirror.example.com:5000/triton:24.08-py3@sha256:00", "1.35.0"),
        ("nvcr.io/nvidia/tritonserver:24.06-py3", "1.35.0"),
        ("my/own:latest", "1.35.0"),
    ],
)
def test_dali_left_out_is_the_newest_that_the_base_reads(root: Path, image: str, dali: str) -> None:
    assert load_settings(root, {"TRITON_IMAGE": image}).dali == dali


def test_dali_newer_than_the_base_is_refused(root: Path) -> None:
    (root / ".env").write_text("TRITON_IMAGE=nvcr.io/nvidia/tritonserver:24.03-py3\n")
    with pytest.raises(ConfigError, match=r"DALI_VERSION=1.35.0 is newer .*set it to 1\.31\.0"):
        load_settings(root, {"DALI_VERSION": "1.35.0"})


def test_dali_as_new_as_the_base_is_taken(root: Path) -> None:
    assert load_settings(root, {"DALI_VERSION": "1.36.2"}).dali == "1.36.2"


def test_base_older_than_every_known_one_asks_for_the_dali(root: Path) -> None:
    base = {"TRITON_IMAGE": "nvcr.io/nvidia/tritonserver:23.01-py3"}
    with pytest.raises(ConfigError, match=r"the first is 24\.02\): set DALI_VERSION"):
        load_settings(root, base)
    assert load_settings(root, {**base, "DALI_VERSION": "1.20.0"}).dali == "1.20.0"


def test_env_file_with_a_damaged_line_is_refused_without_showing_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(f"A=1\n{KEY}\n")
    with pytest.raises(ConfigError, match=r"\.env:2: expected NAME=VALUE") as refused:
        read_env_file(path)
    assert KEY not in str(refused.value)


def test_settings_of_the_environment_go_before_the_env_file(root: Path) -> None:
    (root / ".env").write_text("FACEKIT_GPU=1\nFACEKIT_UID=7\n")
    settings = load_settings(root, {"FACEKIT_GPU": "2"})
    assert (settings.gpu, settings.user.split(":")[0]) == ("2", "7")


def test_user_left_out_is_the_owner_of_the_repository(root: Path, settings: Settings) -> None:
    owner = (root / "model_repository").stat()
    assert settings.user == f"{owner.st_uid}:{owner.st_gid}"


def test_user_that_is_no_number_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match="FACEKIT_UID: expected a number such as 1000, got 'me'"):
        load_settings(root, {"FACEKIT_UID": "me"})


def test_key_file_that_is_missing_is_named(root: Path) -> None:
    with pytest.raises(
        ConfigError, match="NGC_API_KEY_FILE: .*nothing can't be read: No such file"
    ):
        load_settings(root, {"NGC_API_KEY_FILE": "nothing"})


def test_key_is_not_shown_with_the_settings(root: Path) -> None:
    settings = load_settings(root, {"NGC_API_KEY": KEY})
    assert settings.key == KEY
    assert KEY not in repr(settings)
