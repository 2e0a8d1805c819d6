from __future__ import annotations

from collections.abc import Iterator

import pytest

from facekit import Client
from tests.fake_triton import FakeTriton

BOX = [[0, 0, 10, 10]]


@pytest.fixture
def fake() -> Iterator[FakeTriton]:
    with FakeTriton() as server:
        yield server


@pytest.fixture
def client(fake: FakeTriton) -> Iterator[Client]:
    with Client(fake.url, timeout_s=10) as client:
        yield client
