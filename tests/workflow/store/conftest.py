from __future__ import annotations

import pytest

from tests.workflow.store.server import RedisServer


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """One server for the tests of a module."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def empty_redis(running):
    """That server, with nothing in it."""
    with running.client() as client:
        client.flushall()
    return running


@pytest.fixture
def lasting_redis(tmp_path):
    """A server that loses nothing when it is killed."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder, "--appendonly", "yes", "--appendfsync", "always")
    server.start()
    yield server
    server.kill()
