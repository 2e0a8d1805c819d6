"""Which weights are chosen for which models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from conversion.catalog import Catalog
from conversion.catalog_file import load_catalog
from conversion.errors import CatalogError
from conversion.selection import select


def chosen(
    catalog: Catalog,
    selections: Sequence[str] = (),
    models: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    jobs = select(catalog, selections, models, environment or {})
    return {job.model.name: job.weights.name for job in jobs}


@pytest.mark.parametrize(
    ("selections", "environment", "expected"),
    [
        ([], "", {"facenet": "nvidia", "fpenet": "nvidia", "facemask": "open"}),
        (["open"], "", {"facenet": "open", "fpenet": "open", "facemask": "open"}),
        (
            ["facenet=nvidia-fp16"],
            "",
            {"facenet": "nvidia-fp16", "fpenet": "nvidia", "facemask": "open"},
        ),
        (
            ["facenet=nvidia", "open"],
            "",
            {"facenet": "nvidia", "fpenet": "open", "facemask": "open"},
        ),
        (
            ["facenet=open fpenet=nvidia"],
            "",
            {"facenet": "open", "fpenet": "nvidia", "facemask": "open"},
        ),
        (["open", "open"], "", {"facenet": "open", "fpenet": "open", "facemask": "open"}),
        ([], " open  facenet=nvidia ", {"facenet": "nvidia", "fpenet": "open", "facemask": "open"}),
        (["nvidia"], "open", {"facenet": "nvidia", "fpenet": "nvidia", "facemask": "open"}),
    ],
)
def test_choice_is_the_narrowest_selection(
    catalog: Catalog, selections: list[str], environment: str, expected: dict[str, str]
) -> None:
    assert chosen(catalog, selections, (), {"FACEKIT_WEIGHTS": environment}) == expected


def test_choice_of_models_leaves_the_others_out(catalog: Catalog) -> None:
    assert chosen(catalog, ["open"], ["fpenet"]) == {"fpenet": "open"}


@pytest.mark.parametrize(
    ("selections", "models", "words"),
    [
        (["opne"], [], "facenet has no weights 'opne'; there are nvidia, nvidia-fp16, open"),
        (["nvidia-fp16"], [], "fpenet has no weights 'nvidia-fp16'; there are nvidia, open"),
        (["fcenet=open"], [], "--weights fcenet=open: unknown model 'fcenet'; there are facenet"),
        ([], ["emotion"], "unknown model 'emotion'; there are facenet, fpenet, facemask"),
        ([""], [], "expected a name such as open, or facenet=open, got ''"),
        (["facenet="], [], "expected a name such as open, or facenet=open, got 'facenet='"),
        (["=open"], [], "got '=open'"),
        (["open", "nvidia"], [], "both open and nvidia for all models; give one"),
        (["facenet=open", "facenet=nvidia"], [], "both open and nvidia for facenet; give one"),
    ],
)
def test_choice_that_cannot_be_lists_what_there_is(
    catalog: Catalog, selections: list[str], models: list[str], words: str
) -> None:
    with pytest.raises(CatalogError) as caught:
        chosen(catalog, selections, models)
    assert words in str(caught.value)


def test_mistake_in_the_variable_names_it(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match=r"^FACEKIT_WEIGHTS: expected a name"):
        chosen(catalog, environment={"FACEKIT_WEIGHTS": "facenet="})


def test_open_weights_whose_file_is_gone_say_where_it_should_be(repository: Path) -> None:
    catalog = load_catalog(repository=repository)
    (repository / "fpenet" / "1" / "model.onnx").unlink()
    assert chosen(catalog, ["open"], ["facenet"]) == {"facenet": "open"}
    with pytest.raises(CatalogError, match="there is no .*/models/fpenet/1/model.onnx"):
        chosen(catalog, ["open"])


def test_model_of_one_s_own_needs_no_choice(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "e.onnx").touch()
    path = tmp_path / "mine.yaml"
    path.write_text(
        "models: {emotion: {input: face, input_dims: [1, 64, 64], outputs: {logits: [7]}, "
        "batch: {minimum: 1, optimum: 4, maximum: 32}, "
        "weights: {mine: {file: e.onnx, precision: fp16, license: mine}}}}"
    )
    catalog = load_catalog([path], repository=repository)
    assert chosen(catalog)["emotion"] == "mine"


def test_choice_is_in_the_catalog_s_order(catalog: Catalog) -> None:
    assert list(chosen(catalog, models=["fpenet", "facenet"])) == ["facenet", "fpenet"]


@pytest.mark.parametrize(
    ("selections", "expected"),
    [
        ([], "open"),
        (["nvidia"], "open"),
        (["facemask=mine"], "mine"),
        (["nvidia", "facemask=mine"], "mine"),
    ],
)
def test_mask_detector_is_the_kit_s_whatever_the_others_are_until_it_is_chosen(
    repository: Path, stanza: Callable[..., Path], selections: list[str], expected: str
) -> None:
    version = repository / "facemask" / "1"
    version.mkdir(parents=True)
    (version / "model.onnx").write_bytes(b"network")
    models = stanza("facemask", file="mine.onnx", precision="fp16", license="mine")
    catalog = load_catalog([models], repository=repository)
    assert chosen(catalog, selections)["facemask"] == expected


def test_mask_detector_that_the_repository_does_without_is_not_made(repository: Path) -> None:
    catalog = load_catalog(repository=repository)
    assert list(chosen(catalog)) == ["facenet", "fpenet"]
    with pytest.raises(CatalogError, match="there is no .*/models/facemask/1/model.onnx"):
        chosen(catalog, models=["facemask"])


def test_other_weights_are_only_offered_where_there_are_some(repository: Path) -> None:
    catalog = load_catalog(repository=repository)
    for model in ("facemask", "fpenet"):
        (repository / model / "1").mkdir(parents=True, exist_ok=True)
        (repository / model / "1" / "model.onnx").unlink(missing_ok=True)
    with pytest.raises(CatalogError) as caught:
        chosen(catalog, ["open"], ["facemask"])
    assert str(caught.value).endswith("(the kit's own networks come with its repository)")
    with pytest.raises(CatalogError, match="or choose other weights: nvidia$"):
        chosen(catalog, ["open"], ["fpenet"])


def test_image_that_reads_no_etlt_takes_the_open_weights_by_itself(catalog: Catalog) -> None:
    images = {tag: {"NVIDIA_TRITON_SERVER_VERSION": tag} for tag in ("24.04", "26.10", "27.01")}
    names = {tag: chosen(catalog, environment=image)["facenet"] for tag, image in images.items()}
    assert names == {"24.04": "nvidia", "26.10": "open", "27.01": "open"}
    asked = {**images["26.10"], "FACEKIT_WEIGHTS": "nvidia"}
    assert chosen(catalog, environment=asked)["facenet"] == "nvidia"
