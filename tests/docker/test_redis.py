"""``docker-compose up -d redis``, as users start it: who reaches it, and what it keeps."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.docker import engine
from tests.docker.engine import Compose

SERVICE = "redis"


@pytest.fixture(scope="module")
def compose(redis_image: str) -> Iterator[Compose]:
    """The store alone, healthy."""
    with engine.project({"REDIS_IMAGE": redis_image}) as project:
        project("up", "--detach", SERVICE)
        project.wait_healthy(SERVICE)
        yield project


def ask(compose: Compose, *words: str) -> str:
    """Return the answer to one command of Redis."""
    return engine.docker("exec", compose.container(SERVICE), "redis-cli", "-e", *words).strip()


def test_no_other_service_is_started_with_it(compose: Compose) -> None:
    project = f"label=com.docker.compose.project={compose.project}"
    assert len(engine.docker("ps", "--quiet", "--filter", project).split()) == 1


def test_no_port_of_this_machine_leads_to_it(compose: Compose) -> None:
    found = engine.inspect(compose.container(SERVICE))
    assert not [port for port in found["NetworkSettings"]["Ports"].values() if port]


def test_it_runs_without_rights_on_a_read_only_root(compose: Compose) -> None:
    found = engine.inspect(compose.container(SERVICE))
    assert found["Config"]["User"] == "999:999"
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"]


def test_full_memory_refuses_new_entries_and_drops_none(compose: Compose) -> None:
    assert ask(compose, "CONFIG", "GET", "maxmemory-policy").split() == [
        "maxmemory-policy",
        "noeviction",
    ]
    limit = int(ask(compose, "CONFIG", "GET", "maxmemory").split()[1])
    allowed = engine.inspect(compose.container(SERVICE))["HostConfig"]["Memory"]
    assert 0 < 2 * limit < allowed


def test_entries_outlast_a_container_that_is_made_anew(compose: Compose) -> None:
    ask(compose, "SET", "photo:1", "kept")
    before = compose.container(SERVICE)
    compose("up", "--detach", "--force-recreate", SERVICE)
    compose.wait_healthy(SERVICE)
    assert compose.container(SERVICE) != before
    assert ask(compose, "GET", "photo:1") == "kept"


def test_entries_a_second_old_outlast_a_kill(compose: Compose) -> None:
    ask(compose, "SET", "photo:2", "kept too")
    time.sleep(1.5)
    container = compose.container(SERVICE)
    before = engine.inspect(container)
    os.kill(before["State"]["Pid"], signal.SIGKILL)
    engine.wait_until(
        lambda: engine.inspect(container)["RestartCount"] > before["RestartCount"], "a restart"
    )
    compose.wait_healthy(SERVICE)
    assert ask(compose, "GET", "photo:2") == "kept too"


def test_stop_ends_with_exit_code_0(compose: Compose) -> None:
    container = compose.container(SERVICE)
    compose("stop", SERVICE)
    assert engine.inspect(container)["State"]["ExitCode"] == 0
