"""The converter's images and a converter to try, as fixtures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker import engine
from tests.docker.converter_setup import (
    IMAGE,
    Converter,
    build_base,
    converter_of,
    write_downloads,
)


@pytest.fixture(scope="session")
def converter_base(debian_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the converter's image is built on."""
    return build_base(debian_image, tmp_path_factory.mktemp("converter-base"))


@pytest.fixture(scope="session")
def converter_image(converter_base: str) -> str:
    """The converter's image, built as Compose builds it for users."""
    env = {"TRITON_IMAGE": converter_base, "FACEKIT_CONVERTER_IMAGE": IMAGE}
    engine.Compose(env)("--profile", "convert", "build", "converter")
    return IMAGE


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the play NGC has."""
    return write_downloads(tmp_path_factory.mktemp("ngc"))


@pytest.fixture
def converter(converter_image: str, downloads: Path, tmp_path: Path) -> Iterator[Converter]:
    """A converter before its first run."""
    with converter_of(converter_image, downloads, tmp_path) as one:
        yield one


@pytest.fixture(scope="session")
def made(
    converter_image: str, downloads: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Converter]:
    """A converter whose first run went well."""
    with converter_of(converter_image, downloads, tmp_path_factory.mktemp("made")) as one:
        done = one.all()
        assert done.code == 0, done.output
        yield one


@pytest.fixture(scope="session")
def all_names(made: Converter) -> set[str]:
    """Every file of a repository after a run that went well."""
    return set(made.made())
