"""docker-compose.yml, the Dockerfiles, .env.example and the table of releases: of one mind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
ENV = (ROOT / ".env.example").read_text("utf-8")
DOCKERFILES = {
    name: (ROOT / name).read_text("utf-8")
    for name in ("Dockerfile.triton", "Dockerfile.converter", "Dockerfile.jupyter")
}
ON_TRITON = [name for name in DOCKERFILES if "TRITON_IMAGE" in DOCKERFILES[name]]


def release() -> str:
    """The Triton tag for NVIDIA's networks, which are the default."""
    table = yaml.safe_load((ROOT / "conversion" / "releases.yaml").read_text("utf-8"))["releases"]
    return max(tag for tag in table if "tao_converter" in table[tag])


def version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def arguments(dockerfile: str) -> dict[str, str]:
    found = re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILES[dockerfile], re.MULTILINE)
    return dict(found)


def variables() -> dict[str, str]:
    """Every variable of docker-compose.yml with its default; "" where there is none."""
    found = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE))
    for service in yaml.safe_load(COMPOSE)["services"].values():
        passed_on = service.get("environment", [])
        if isinstance(passed_on, list):
            found.update(dict.fromkeys(passed_on, ""))
    return found


def examples() -> dict[str, str]:
    """Every key of .env.example with the value it shows."""
    return dict(re.findall(r"^#?(\w+)=(.*)$", ENV, re.MULTILINE))


def test_compose_file_fits_the_schema_of_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(ROOT / "docker-compose.yml")], capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_compose_file_asks_for_no_variable_without_a_default() -> None:
    plain = re.findall(r"\$\{?\w+\}?(?!\w*:-)", re.sub(r"\$\{\w+:-[^}]*\}", "", COMPOSE))
    assert plain == []


def test_env_example_has_every_variable_and_no_other() -> None:
    assert set(examples()) == set(variables())


def test_env_example_shows_the_defaults_of_the_compose_file() -> None:
    shown = examples()
    defaults = {name: value for name, value in variables().items() if value}
    assert {name: shown[name] for name in defaults} == defaults


def test_env_example_says_what_each_key_is_for() -> None:
    blocks = re.split(r"\n\s*\n", ENV)
    keyed = [block for block in blocks if re.search(r"^#?\w+=", block, re.MULTILINE)]
    assert keyed
    assert all(re.match(r"# \S", block) for block in keyed)


@pytest.mark.parametrize("name", ON_TRITON)
def test_dockerfile_is_built_on_the_release_of_the_table(name: str) -> None:
    assert arguments(name)["TRITON_IMAGE"] == f"nvcr.io/nvidia/tritonserver:{release()}-py3"


def test_converter_takes_the_dali_of_its_base_and_installs_one_only_where_there_is_none(
    tmp_path: Path,
) -> None:
    text = DOCKERFILES["Dockerfile.converter"]
    # The base's own path to its DALI stays.
    assert "PYTHONPATH=/opt/facekit${PYTHONPATH:+:$PYTHONPATH}" in text
    (step,) = re.findall(r"^RUN (if .*?find_spec.*?[^\\])$", text, re.MULTILINE | re.DOTALL)
    said = tmp_path / "said"
    python = tmp_path / "python3"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *nvidia.dali\\\'*) exit "$HAS_NO_DALI";; esac\n'
        f'echo "$*" >>{said}\n'
    )
    python.chmod(0o755)
    for tag, has_no_dali, wheel in (
        ("24.02", "1", "1.31.0"),
        ("24.04", "1", "1.35.0"),
        ("", "1", "1.35.0"),
        ("26.10", "0", None),
    ):
        said.write_text("")
        environment = {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "NVIDIA_TRITON_SERVER_VERSION": tag,
            "HAS_NO_DALI": has_no_dali,
        }
        subprocess.run(["sh", "-ec", step.replace("\\\n", "")], env=environment, check=True)
        first = said.read_text().split("\n")[0]
        wanted = f"-m pip install nvidia-dali-cuda120=={wheel} numpy<2" if wheel else ""
        assert first == wanted, tag
        release_ = yaml.safe_load((ROOT / "conversion" / "releases.yaml").read_text("utf-8"))
        known = release_["releases"].get(tag)
        if known and wheel:
            assert wheel.split(".")[:2] <= known["dali"].split(".")


def test_images_ask_for_numpy_1_only_where_there_is_one() -> None:
    pinned = "numpy<2; python_version < '3.13'"
    assert f'".[convert]" "{pinned}"' in DOCKERFILES["Dockerfile.converter"]
    assert f'"{pinned}"]' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_compose_file_has_the_bases_of_the_dockerfiles() -> None:
    defaults = variables()
    for name in DOCKERFILES:
        known = {key: value for key, value in arguments(name).items() if key in defaults}
        assert known
        assert known == {key: defaults[key] for key in known}


def test_image_names_carry_the_version_of_the_package() -> None:
    names = [value for name, value in variables().items() if re.match(r"FACEKIT_\w+_IMAGE", name)]
    assert len(names) == 4
    assert all(name.endswith(f":{version()}") for name in names)


def test_images_are_labeled_with_the_version_of_the_package() -> None:
    label = r'org\.opencontainers\.image\.version="([^"$]+)"'
    assert re.findall(label, DOCKERFILES["Dockerfile.triton"]) == [version()] * 2
    assert re.findall(label, DOCKERFILES["Dockerfile.jupyter"]) == [version()]
    assert arguments("Dockerfile.converter")["FACEKIT_VERSION"] == version()


def test_health_checks_of_both_servers_ask_each_model_once() -> None:
    checks = re.findall(r"^HEALTHCHECK .*\n +CMD (.+)$", DOCKERFILES["Dockerfile.triton"], re.M)
    assert [json.loads(check)[:3] for check in checks] == [["facekit", "status", "--once"]] * 2


def test_cpu_target_comes_before_the_gpu_base_so_that_it_is_not_fetched() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILES["Dockerfile.triton"], re.MULTILINE)
    assert stages == [("${PYTHON_IMAGE}", "cpu"), ("${TRITON_IMAGE}", "gpu")]


def test_build_context_leaves_out_everything_that_is_not_named() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    named = {rule[1:] for rule in rules if rule.startswith("!")}
    packages = {"facekit", "conversion", "notebooks"}
    assert named == {"pyproject.toml", "README.md", "LICENSE", *packages}


def test_only_the_gpu_server_starts_where_no_service_is_named() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    assert [name for name in services if "profiles" not in services[name]] == ["triton-server"]


def test_notebook_and_store_are_hardened_as_the_others() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    for name in ("jupyter-demo", "redis"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]
        assert services[name]["mem_limit"]
        assert services[name]["pids_limit"]
        assert not str(services[name]["user"]).startswith("0")


def test_notebook_is_published_on_this_machine_alone_and_the_store_nowhere() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    (port,) = services["jupyter-demo"]["ports"]
    assert port.startswith("127.0.0.1:")
    assert "ports" not in services["redis"]


def test_notebook_calls_whichever_server_runs() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    host, _, port = variables()["FACEKIT_URL"].partition(":")
    assert port == "8001"
    for name in ("triton-server", "triton-cpu"):
        assert services[name]["networks"] == {"default": {"aliases": [host]}}
    # One that needs a service of a profile could not be started alone.
    assert "depends_on" not in services["jupyter-demo"]


def test_store_is_a_tag_of_redis_7_and_keeps_its_data_in_a_volume() -> None:
    services = yaml.safe_load(COMPOSE)["services"]
    assert re.fullmatch(r"redis:7\.\d+-\w+", variables()["REDIS_IMAGE"])
    assert services["redis"]["volumes"] == ["redis:/data"]
    assert "redis" in yaml.safe_load(COMPOSE)["volumes"]
