"""Which versions fit together, and what is said where they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from conversion.catalog import Catalog, Weights
from conversion.errors import ReleaseError
from conversion.releases import TOOL_LICENSE, load_releases, numbers

TABLE = load_releases()


def weights(catalog: Catalog, name: str) -> Weights:
    model, source = name.split("=")
    return catalog[model].weights[source]


def refusal(catalog: Catalog, name: str, tensorrt: str, architecture: str = "x86_64") -> str:
    with pytest.raises(ReleaseError) as caught:
        TABLE.check(weights(catalog, name), tensorrt, architecture)
    return str(caught.value)


def test_default_release_is_the_last_that_reads_an_etlt() -> None:
    assert TABLE.default_tag == "24.04"
    assert TABLE.default.tensorrt == "8.6.3"
    assert TABLE.default.tao_converter["x86_64"] == "v5.1.0_8.6.3.1_x86"


def test_releases_from_tensorrt_10_on_have_no_tao_converter() -> None:
    for release in TABLE.known.values():
        assert bool(release.tao_converter) == (numbers(release.tensorrt)[0] < 10)


def test_dali_wheel_is_never_newer_than_the_image_s_backend() -> None:
    for release in TABLE.known.values():
        assert numbers(release.dali_wheel)[:2] <= numbers(release.dali)[:2]


@pytest.mark.parametrize(
    ("version", "tag"), [("8.6.3", "24.04"), ("8.6.3.1", "24.04"), ("10.2.0", "24.07")]
)
def test_release_is_found_by_tensorrt(version: str, tag: str) -> None:
    assert TABLE.by_tensorrt(version) == TABLE.by_tag(tag)


def test_release_of_an_unknown_tensorrt_is_none() -> None:
    assert TABLE.by_tensorrt("8.6.1") is None


def test_release_of_an_unknown_tag_lists_the_known() -> None:
    with pytest.raises(ReleaseError, match=r"Triton 21\.01 is not in .*; known are 24\.02, 24\.03"):
        TABLE.by_tag("21.01")


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


def test_etlt_on_another_patch_of_tensorrt_is_warned_of(catalog: Catalog) -> None:
    warning = TABLE.check(weights(catalog, "fpenet=nvidia"), "8.6.1", "x86_64")
    assert (
        warning is not None
        and "TensorRT 8.6.1 is not in conversion/releases.yaml; known are 8.6.3" in warning
    )
    assert TABLE.tao_converter("8.6.1", "x86_64") == "v5.1.0_8.6.3.1_x86"


@pytest.mark.parametrize("tensorrt", ["8.6.3", "10.7.0"])
def test_open_weights_fit_every_release(catalog: Catalog, tensorrt: str) -> None:
    assert TABLE.check(weights(catalog, "facenet=open"), tensorrt, "riscv64") is None


def test_open_weights_on_an_unknown_tensorrt_are_warned_of(catalog: Catalog) -> None:
    warning = TABLE.check(weights(catalog, "facenet=open"), "12.0.0", "x86_64")
    assert warning is not None and warning.startswith("TensorRT 12.0.0 is not in")


def test_tool_for_jetpack_is_warned_of(catalog: Catalog) -> None:
    warning = TABLE.check(weights(catalog, "fpenet=nvidia"), "8.6.3", "aarch64")
    assert warning is not None and "v5.1.0_jp6.0_aarch64 is made for JetPack" in warning


def test_release_of_the_image_is_told_by_its_variable() -> None:
    release = TABLE.here({"NVIDIA_TRITON_SERVER_VERSION": "24.03"})
    assert release is not None and release.dali == "1.31"
    assert TABLE.here({"NVIDIA_TRITON_SERVER_VERSION": "23.01"}) is None
    assert TABLE.here({}) is None


def test_terms_of_the_tool_are_those_of_nvidia_s_networks(catalog: Catalog) -> None:
    assert weights(catalog, "facenet=nvidia").license == TOOL_LICENSE


ROW = "{tensorrt: 8.6.3, dali: '1.36', dali_wheel: 1.35.0, tao_converter: {x86_64: v5}}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"releases: {{'24.04': {ROW}}}", "FILE:1: missing: default"),
        (
            f"default: '24.05'\nreleases: {{'24.04': {ROW}}}",
            "FILE:1: default: expected one of 24.04",
        ),
        (
            f"default: 24.04\nreleases: {{'24.04': {ROW}}}",
            "default: expected text, got 24.04 (write it in quotes)",
        ),
        (
            f"default: '24'\nreleases: {{'24': {ROW}}}",
            "FILE:2: releases.24: expected a tag",
        ),
        ("default: 'a'\nreleases: {}", "FILE:2: releases: expected at least 1 in it"),
        (
            f"default: '24.04'\nreleases: {{'24.04': {ROW.replace('x86_64', 'amd64')}}}",
            "tao_converter.amd64: expected 'x86_64' or 'aarch64'",
        ),
        (
            f"default: '24.04'\nreleases: {{'24.04': {ROW.replace('8.6.3', 'eight')}}}",
            "tensorrt: expected a version such as 8.6.3, got 'eight'",
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


def dali(tag: str, wanted: str = "") -> str:
    return TABLE.dali_for(f"nvcr.io/nvidia/tritonserver:{tag}-py3", wanted)


@pytest.mark.parametrize(
    ("tag", "wheel"), [("24.03", "1.31.0"), ("24.08", "1.35.0"), ("24.06", "1.35.0")]
)
def test_dali_left_out_is_the_newest_that_the_base_reads(tag: str, wheel: str) -> None:
    assert dali(tag) == wheel
    assert TABLE.dali_for("my/own:latest", "") == "1.35.0"


def test_dali_newer_than_the_base_is_refused() -> None:
    with pytest.raises(ReleaseError, match=r"DALI_VERSION=1.35.0 is newer .*set it to 1\.31\.0"):
        dali("24.03", "1.35.0")
    assert dali("24.04", "1.36.2") == "1.36.2"


def test_base_older_than_every_known_one_asks_for_the_dali() -> None:
    with pytest.raises(ReleaseError, match=r"the first is 24\.02\): set DALI_VERSION"):
        dali("23.01")
    assert dali("23.01", "1.20.0") == "1.20.0"
