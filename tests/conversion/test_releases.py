"""Which versions fit together, and what is said where they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversion.catalog import Catalog, Weights
from conversion.errors import ReleaseError
from conversion.releases import TOOL_LICENSE, load_releases
from facekit.engines.machine import Gpu
from facekit.engines.releases import _GPUS, _HOLES, known_holes, numbers

TABLE = load_releases()


def weights(catalog: Catalog, name: str) -> Weights:
    model, source = name.split("=")
    return catalog[model].weights[source]


def refusal(catalog: Catalog, name: str, tensorrt: str, architecture: str = "x86_64") -> str:
    with pytest.raises(ReleaseError) as caught:
        TABLE.check(weights(catalog, name), tensorrt, architecture)
    return str(caught.value)


def test_table_has_every_tag_to_the_newest() -> None:
    tags = [f"{year}.{month:02}" for year in (24, 25, 26) for month in range(1, 13)]
    assert list(TABLE.known) == tags[1:-2]


def test_versions_never_fall_from_tag_to_tag() -> None:
    for column in ("server", "tensorrt", "cuda", "python"):
        found = [numbers(getattr(release, column)) for release in TABLE.known.values()]
        # Of the last ones only TensorRT's major version is known.
        assert found == sorted(found, key=lambda version: (*version, 99)[:3]), column
    assert sorted(release.driver for release in TABLE.known.values()) == [
        release.driver for release in TABLE.known.values()
    ]


def test_last_to_read_an_etlt_is_24_04() -> None:
    assert TABLE.etlt_tags == ["24.02", "24.03", "24.04"]
    assert TABLE.known["24.04"].tao_converter["x86_64"] == "v5.1.0_8.6.3.1_x86"
    for release in TABLE.known.values():
        assert bool(release.tao_converter) == (numbers(release.tensorrt)[0] < 10)


@pytest.mark.parametrize(
    ("tag", "tensorrt", "nearest", "words"),
    [
        ("24.04", "8.6.3", "24.04", ""),
        ("", "8.6.3", "24.04", ""),
        ("", "8.6.3.1", "24.04", ""),
        ("", "10.2.0", "24.07", ""),
        ("", "8.6.1", "24.04", "TensorRT 8.6.1"),
        ("", "11.9.0", "26.10", "TensorRT 11.9.0"),
        ("", "12.0.0", "26.10", "TensorRT 12.0.0"),
        ("26.11", "", "26.10", "Triton 26.11"),
        ("26.12", "10.14.1", "26.01", "Triton 26.12"),
    ],
)
def test_triton_that_is_not_in_the_table_is_treated_as_the_nearest(
    tag: str, tensorrt: str, nearest: str, words: str
) -> None:
    found, note = TABLE.nearest(tag, tensorrt)
    assert found == nearest
    table = "conversion/releases.yaml"
    assert note == (
        words and f"{words} is not in {table}: treated as {'Triton ' + nearest}, and untested"
    )


def test_triton_older_than_the_table_is_refused() -> None:
    with pytest.raises(
        ReleaseError, match=r"Triton 21\.01 is not in .*; known are 24\.02 to 26\.10"
    ):
        TABLE.nearest("21.01")


V100, B200 = Gpu("Tesla V100", "7.0"), Gpu("NVIDIA B200", "10.0")


@pytest.mark.parametrize(
    ("name", "gpus", "driver", "tag"),
    [
        ("facenet=nvidia", (), None, "24.04"),
        ("fpenet=nvidia", (B200,), None, "24.04"),  # which `check` then refuses
        ("facenet=open", (), None, "26.10"),
        ("facenet=open", (B200,), 700, "26.10"),
        ("facenet=open", (B200,), 610, "26.07"),
        ("facenet=open", (), 550, "26.07"),  # the oldest without known holes
        ("facenet=open", (V100,), None, "24.09"),
        ("facenet=open", (Gpu("Tesla K80", "3.7"),), None, "26.10"),
    ],
)
def test_base_fits_weights_gpu_and_driver(
    catalog: Catalog, name: str, gpus: tuple[Gpu, ...], driver: int | None, tag: str
) -> None:
    assert TABLE.best([weights(catalog, name)], gpus, driver) == tag


def test_last_tag_of_each_row_of_gpus_is_that_of_the_table() -> None:
    for (since, tag, *_), (following, *_) in zip(_GPUS, (*_GPUS[1:], ("99",)), strict=True):
        tags = [
            known
            for known, release in TABLE.known.items()
            if numbers(since) <= numbers(release.tensorrt) < numbers(following)
        ]
        assert tags[-1] == tag


def test_holes_are_closed_by_the_version_of_the_tag() -> None:
    for version, tag, _ in _HOLES:
        assert TABLE.known[tag].server == version
    assert [tag for tag in TABLE.known if not known_holes(TABLE.known[tag].server)][0] == "26.07"


@pytest.mark.parametrize("name", ["facenet=nvidia", "facenet=nvidia-fp16", "fpenet=nvidia"])
def test_etlt_on_tensorrt_8_fits(catalog: Catalog, name: str) -> None:
    assert TABLE.check(weights(catalog, name), "8.6.3", "x86_64") is None


@pytest.mark.parametrize("name", ["facenet=nvidia", "fpenet=nvidia"])
@pytest.mark.parametrize("tensorrt", ["10.0.1", "11.2.0"])
def test_etlt_on_tensorrt_10_names_the_ways_out(catalog: Catalog, name: str, tensorrt: str) -> None:
    assert refusal(catalog, name, tensorrt) == (
        f"TensorRT {tensorrt} cannot read a UFF or .etlt model. "
        "Alternatives: --weights open, or Triton 24.02 to 24.04"
    )


def test_uff_on_tensorrt_9_is_refused_for_its_format(catalog: Catalog) -> None:
    assert "cannot read a UFF model; version 8 was the last" in refusal(
        catalog, "facenet=nvidia", "9.3.0"
    )


def test_onnx_etlt_on_tensorrt_9_is_refused_for_want_of_a_tool(catalog: Catalog) -> None:
    assert "no tao-converter for TensorRT 9.3.0 on x86_64" in refusal(
        catalog, "fpenet=nvidia", "9.3.0"
    )


def test_etlt_on_another_processor_is_refused(catalog: Catalog) -> None:
    text = refusal(catalog, "fpenet=nvidia", "8.6.3", "riscv64")
    assert "on riscv64 (known: TensorRT 8.6.3 on aarch64, x86_64)" in text


def test_etlt_on_an_older_tensorrt_is_refused(catalog: Catalog) -> None:
    assert "no tao-converter for TensorRT 8.5.2" in refusal(catalog, "fpenet=nvidia", "8.5.2")


def test_etlt_on_another_patch_of_tensorrt_takes_the_same_tool(catalog: Catalog) -> None:
    warning = TABLE.check(weights(catalog, "fpenet=nvidia"), "8.6.1", "x86_64")
    assert warning is None
    assert TABLE.tao_converter("8.6.1", "x86_64") == "v5.1.0_8.6.3.1_x86"


@pytest.mark.parametrize("tensorrt", ["8.6.3", "10.7.0"])
def test_open_weights_fit_every_release(catalog: Catalog, tensorrt: str) -> None:
    assert TABLE.check(weights(catalog, "facenet=open"), tensorrt, "riscv64") is None


def test_tool_for_jetpack_is_warned_of(catalog: Catalog) -> None:
    warning = TABLE.check(weights(catalog, "fpenet=nvidia"), "8.6.3", "aarch64")
    assert warning is not None and "v5.1.0_jp6.0_aarch64 is made for JetPack" in warning


def test_terms_of_the_tool_are_those_of_nvidia_s_networks(catalog: Catalog) -> None:
    assert weights(catalog, "facenet=nvidia").license == TOOL_LICENSE


ROW = (
    "{server: 2.45.0, tensorrt: 8.6.3, cuda: '12.4', python: '3.10', driver: 545, "
    "tao_converter: {x86_64: v5}}"
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"releases: {{24.04: {ROW}}}\ndefault: 1", "FILE:2: default: unknown key"),
        (f"releases: {{'24': {ROW}}}", "FILE:1: releases.24: expected a tag"),
        ("releases: {}", "FILE:1: releases: expected at least 1 in it"),
        (
            f"releases: {{'24.04': {ROW.replace('x86_64', 'amd64')}}}",
            "tao_converter.amd64: expected 'x86_64' or 'aarch64'",
        ),
        (
            f"releases: {{'24.04': {ROW.replace('8.6.3', 'eight')}}}",
            "tensorrt: expected a version such as 8.6.3, got 'eight'",
        ),
        (
            f"releases: {{'24.04': {ROW.replace('545', 'new')}}}",
            "driver: expected a whole number, got 'new'",
        ),
        (
            f"releases: {{'24.04': {ROW.replace('{x86_64: v5}', '{}')}}}",
            "releases: expected a release with a tao_converter",
        ),
    ],
)
def test_table_with_a_mistake_names_file_line_and_key(
    tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "releases.yaml"
    path.write_text(content)
    with pytest.raises(ReleaseError) as caught:
        load_releases(path)
    assert words in str(caught.value).replace(str(path), "FILE")
