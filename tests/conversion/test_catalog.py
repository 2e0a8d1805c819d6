"""The kit's own catalog, and a user's file over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conversion.catalog import Catalog, Format, Precision
from conversion.catalog_file import BUILT_IN, load_catalog
from conversion.errors import CatalogError
from facekit.engines.manifest import Batch
from tests.conversion.conftest import REPOSITORY

Stanza = Callable[..., Path]
MINE = {"file": "mine.onnx", "precision": "fp16", "license": "mine"}
ETLT = {**MINE, "file": "mine.etlt", "format": "onnx-etlt", "key": "k"}


def load(path: Path) -> Catalog:
    return load_catalog([path], repository=REPOSITORY)


def problem(path: Path) -> str:
    with pytest.raises(CatalogError) as caught:
        load(path)
    return str(caught.value).replace(f"{path}", "FILE")


def test_built_in_facenet_is_the_quantized_network_with_its_cache(catalog: Catalog) -> None:
    weights = catalog["facenet"].weights["nvidia"]
    assert weights.ngc is not None
    assert weights.ngc.label == "nvidia/tao/facenet:pruned_quantized_v2.0.1"
    assert (weights.format, weights.precision) == (Format.UFF_ETLT, Precision.INT8)
    assert (weights.calibration, weights.key) == ("int8_calibration.txt", "nvidia_tlt")
    assert weights.license.accept


def test_built_in_fpenet_is_the_third_version_in_fp16(catalog: Catalog) -> None:
    weights = catalog["fpenet"].weights["nvidia"]
    assert weights.ngc is not None and weights.ngc.label == "nvidia/tao/fpenet:deployable_v3.0"
    assert (weights.format, weights.precision) == (Format.ONNX_ETLT, Precision.FP16)
    assert weights.outputs["softargmax:1"] == (80,)


@pytest.mark.parametrize("model", ["facenet", "fpenet"])
def test_built_in_open_weights_are_the_repository_s_own_file(catalog: Catalog, model: str) -> None:
    weights = catalog[model].weights["open"]
    assert weights.folder == REPOSITORY / model / "1" and weights.ngc is None
    assert (weights.folder / weights.network).is_file()
    assert weights.format is Format.ONNX and weights.config == "open"


def test_built_in_mask_detector_has_the_kit_s_own_file_and_the_one_configuration(
    catalog: Catalog,
) -> None:
    weights = catalog["facemask"].weights["open"]
    assert weights.folder == REPOSITORY / "facemask" / "1"
    assert (weights.folder / weights.network).is_file()
    assert weights.format is Format.ONNX and weights.config == ""
    assert weights.outputs == {
        "output_bbox/BiasAdd": (8, 26, 46),
        "output_cov/Sigmoid": (2, 26, 46),
    }


def test_built_in_engines_take_one_to_thirty_two_photos(catalog: Catalog) -> None:
    assert {model.batch for model in catalog.values()} == {Batch(1, 8, 32)}


def test_user_s_onnx_takes_tensors_and_format_from_the_model(stanza: Stanza) -> None:
    path = stanza(**MINE)
    catalog = load(path)
    weights = catalog["facenet"].weights["mine"]
    assert weights.format is Format.ONNX
    assert weights.folder == path.parent
    assert weights.outputs == catalog["facenet"].weights["nvidia"].outputs
    assert (weights.config, weights.note, weights.key) == ("", "", None)


def test_user_s_file_leaves_the_built_in_weights(stanza: Stanza) -> None:
    assert list(load(stanza(**MINE))["facenet"].weights) == [
        "nvidia",
        "nvidia-fp16",
        "open",
        "mine",
    ]


def test_user_s_weights_of_a_built_in_name_win(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").touch()
    path = tmp_path / "mine.yaml"
    path.write_text(
        "models: {facenet: {weights: {nvidia: {file: a.onnx, precision: fp32, license: mine}}}}"
    )
    assert load(path)["facenet"].weights["nvidia"].network == "a.onnx"


def test_example_of_the_built_in_file_is_one_that_loads(tmp_path: Path) -> None:
    comment = [line for line in BUILT_IN.read_text().splitlines() if line[:1] == "#"]
    example = [line[4:] for line in comment if line.startswith("#   ")]
    assert len(example) == 7
    (tmp_path / "my_facenet.onnx").touch()
    (tmp_path / "my_masks.etlt").touch()
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(example))
    models = load(path)
    assert models["facenet"].weights["mine"].precision is Precision.FP16
    assert models["facemask"].weights["mine"].format is Format.UFF_ETLT
    assert list(models["facemask"].weights) == ["open", "mine"]


def test_quantized_onnx_needs_no_calibration(stanza: Stanza, tmp_path: Path) -> None:
    path = stanza(**{**MINE, "file": "mine.onnx", "precision": "int8"})
    assert "missing: calibration" in problem(path)
    (tmp_path / "mine.onnx").write_bytes(b"\x08\x08 QuantizeLinear")
    mine = load(path)["facenet"].weights["mine"]
    assert mine.holds_scales and mine.calibration is None


def test_mask_detector_has_one_configuration_for_all_weights(stanza: Stanza) -> None:
    words = "config: facemask has one configuration for all weights: leave this out"
    assert words in problem(stanza("facemask", **MINE, config="open"))


def test_user_s_own_model_brings_its_tensors(tmp_path: Path) -> None:
    (tmp_path / "e.onnx").touch()
    path = tmp_path / "mine.yaml"
    path.write_text(
        "models:\n"
        "  emotion:\n"
        "    input: face\n"
        "    input_dims: [1, 64, 64]\n"
        "    batch: {minimum: 1, optimum: 4, maximum: 32}\n"
        "    outputs: {logits: [7]}\n"
        "    weights: {mine: {file: e.onnx, precision: fp16, license: mine}}\n"
    )
    model = load(path)["emotion"]
    assert (model.input, model.input_dims) == ("face", (1, 64, 64))
    assert model.weights["mine"].outputs == {"logits": (7,)}


def test_user_s_own_model_without_tensors_lists_what_is_missing(stanza: Stanza) -> None:
    assert problem(stanza("emotion", **MINE)) == (
        "FILE:1: models.emotion: missing: input, input_dims, batch, outputs"
    )


def test_network_of_68_points_is_accepted(stanza: Stanza) -> None:
    outputs = {"conv_keypoints_m80": [68, 80, 80], "softargmax": [68, 2], "softargmax:1": [68]}
    path = stanza("fpenet", **MINE, outputs=outputs)
    assert load(path)["fpenet"].weights["mine"].outputs["softargmax"] == (68, 2)


def test_download_without_files_fetches_what_is_built_from(stanza: Stanza) -> None:
    path = stanza(**{**ETLT, "ngc": "me/team/net:1", "file": "a.etlt", "calibration": "c.txt"})
    ngc = load(path)["facenet"].weights["mine"].ngc
    assert ngc is not None and list(ngc.files) == ["a.etlt", "c.txt"]


def test_file_of_the_repository_is_not_looked_for_before_it_is_chosen(tmp_path: Path) -> None:
    catalog = load_catalog(repository=tmp_path)
    assert catalog["facenet"].weights["open"].folder == tmp_path / "facenet" / "1"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"precision": "fp17"}, "precision: expected 'int8', 'fp16' or 'fp32', got 'fp17'"),
        ({"precision": 16}, "precision: expected 'int8', 'fp16' or 'fp32', got 16"),
        ({"precison": "fp16"}, "precison: unknown key"),
        (
            {"license": "nvidia"},
            "license: expected one of nvidia-model-eula, open-research, open-research-masks, mine",
        ),
        ({"format": "onnx-etlt"}, "format: expected onnx for .onnx, got 'onnx-etlt'"),
        ({"key": "k"}, "key: is only for an .etlt"),
        ({"precision": "int8"}, "missing: calibration"),
        ({"calibration": "none.txt"}, "none.txt does not exist"),
        ({"calibration": "a/b.txt"}, "expected the name of a file in the network's folder"),
        ({"config": "my config"}, "config: expected a name of letters, digits"),
        ({"config": True}, "config: expected text, got true (write it in quotes)"),
        ({"files": {}}, "files: is only for a download"),
        ({"note": None}, "note: expected text, got nothing"),
        ({"outputs": [1]}, "outputs: expected keys and values, got a list"),
        ({"outputs": {"a": [1]}}, "expected the outputs output_bbox/BiasAdd, output_cov/Sigmoid"),
        (
            {"outputs": {"output_bbox/BiasAdd": [4, 26, 45], "output_cov/Sigmoid": [1, 26, 46]}},
            "output_bbox/BiasAdd: expected [4, 26, 46], got [4, 26, 45]",
        ),
        (
            {"outputs": {"output_bbox/BiasAdd": [4, 0, 46], "output_cov/Sigmoid": "x"}},
            "output_bbox/BiasAdd.1: expected 1 or more, got 0",
        ),
    ],
)
def test_onnx_stanza_with_a_mistake_names_file_line_and_key(
    stanza: Stanza, fields: dict[str, object], words: str
) -> None:
    text = problem(stanza(**{**MINE, **fields}))
    assert text.startswith("FILE:1: models.facenet.weights.mine")
    assert words in text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"key": None}, "missing: key"),
        ({"format": "tf"}, "format: expected 'uff-etlt', 'onnx-etlt' or 'onnx', got 'tf'"),
        ({"ngc": "facenet:1"}, "ngc: expected org/team/model:version"),
        ({"ngc": "a/b/../c:1"}, "ngc: expected org/team/model:version"),
        ({"ngc": "a/b/c:1", "files": {"x.etlt": {}}}, "file: expected one of files (x.etlt)"),
        ({"ngc": "a/b/c:1", "file": "../x.etlt"}, "file: expected a plain file name"),
        (
            {"ngc": "a/b/c:1", "files": {"mine.etlt": {"sha256": "12"}}},
            "sha256: expected 64 hexadecimal digits, got '12'",
        ),
        (
            {"ngc": "a/b/c:1", "files": {"mine.etlt": {"size": -1}}},
            "size: expected 1 or more, got -1",
        ),
        ({"public_key": "yes please"}, "public_key: expected true or false"),
        ({"file": "none.etlt"}, "none.etlt does not exist"),
        ({"file": "a.plan"}, "an engine runs only where it was built"),
    ],
)
def test_etlt_stanza_with_a_mistake_says_what_was_expected(
    stanza: Stanza, fields: dict[str, object], words: str
) -> None:
    assert words in problem(stanza(**{**ETLT, **fields}))


@pytest.mark.parametrize(
    ("left_out", "words"),
    [("key", "missing: key"), ("format", "missing: format, uff-etlt or onnx-etlt")],
)
def test_etlt_stanza_without_key_or_format_asks_for_it(
    stanza: Stanza, left_out: str, words: str
) -> None:
    assert words in problem(stanza(**{k: v for k, v in ETLT.items() if k != left_out}))


@pytest.mark.parametrize("fields", [{"precision": "fp17"}, {"format": "tf"}])
def test_mistake_brings_no_other_with_it(stanza: Stanza, fields: dict[str, object]) -> None:
    [line] = problem(stanza(**{**ETLT, **fields})).splitlines()
    assert next(iter(fields)) in line


def test_old_spelling_of_license_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").touch()
    path = tmp_path / "mine.yaml"
    path.write_text(
        "licences: {ours: {name: ours, url: '', accept: true}}\n"
        "models: {facenet: {weights: {a: {file: a.onnx, precision: fp16, licence: ours}}}}\n"
    )
    assert load(path)["facenet"].weights["a"].license.name == "ours"


def test_stanza_without_a_file_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("models: {facenet: {weights: {mine: {precision: fp16, license: mine}}}}")
    assert problem(path) == "FILE:1: models.facenet.weights.mine: missing: file"


def test_key_that_is_no_text_is_not_repeated(stanza: Stanza) -> None:
    text = problem(stanza(**{**ETLT, "key": 48151623}))
    assert "key: expected text" in text and "quotes" in text and "48151623" not in text


def test_batch_that_refuses_single_photos_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "models:\n"
        "  facenet:\n"
        "    batch: {minimum: 2, optimum: 40, maximum: 16}\n"
        "    weights: {a: {file: a.onnx, precision: fp16, license: mine}}\n"
    )
    (tmp_path / "a.onnx").touch()
    assert problem(path).splitlines() == [
        "FILE:3: models.facenet.batch.minimum: expected 1: an engine with a larger one refuses "
        "single photos, got 2",
        "FILE:3: models.facenet.batch.maximum: expected 32, the max_batch_size of every "
        "config.pbtxt, got 16",
        "FILE:3: models.facenet.batch.optimum: expected a number between minimum and maximum, "
        "got 40",
    ]


def test_input_other_than_the_contract_s_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "models:\n"
        "  facenet:\n"
        "    input: input_1:0\n"
        "    input_dims: [1, 416, 736]\n"
        "    weights: {a: {file: a.onnx, precision: fp16, license: mine}}\n"
    )
    (tmp_path / "a.onnx").touch()
    first, second = problem(path).splitlines()
    assert first.endswith("expected 'input_1', which the ensembles feed, got 'input_1:0'")
    assert second.endswith(
        "FILE:4: models.facenet.input_dims: expected [3, 416, 736], got [1, 416, 736]"
    )


def test_points_that_differ_between_outputs_are_refused(stanza: Stanza) -> None:
    outputs = {"conv_keypoints_m80": [68, 80, 80], "softargmax": [80, 2], "softargmax:1": [68]}
    text = problem(stanza("fpenet", **MINE, outputs=outputs))
    assert "the same number of points in each, 68 or 80 or 104, got [68, 80]" in text


def test_key_twice_names_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("models:\n  facenet: {}\n  facenet: {}\n")
    assert "FILE:3: models.facenet: is given twice; first in line 2" in problem(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "FILE: the file is empty"),
        (b"# nothing\n", "FILE: the file is empty"),
        (b"models:\n  a: [1\n", "FILE:3: not YAML: "),
        (b"models: {}\n---\nmodels: {}\n", "FILE:2: not YAML: expected a single document"),
        (b"\xff\xfe\x00", "FILE: cannot be read as text: byte 0 is not UTF-8"),
        (b"a: \x01", "FILE: not YAML: "),
        (b"[" * 5000, "FILE: lists or mappings are nested too deeply"),
        (b"- models\n", "FILE:1: expected keys and values, got a list"),
        (b"model: {}\n", "FILE:1: model: unknown key"),
        (b"models: {}\n", "FILE:1: models: expected at least 1 in it"),
        (b"models: {facenet: {weights: {}}}\n", "weights: expected at least 1 in it"),
        (b"models: {../x: {}}\n", "models.../x: expected a name of letters"),
        (b"models: {[a]: {}}\n", "models: expected a plain key, got a list or a mapping"),
        (b"models: *x\n", "FILE:1: not YAML: "),
    ],
)
def test_file_that_is_no_catalog_says_so(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    assert words in problem(path)


def test_file_that_is_missing_says_so(tmp_path: Path) -> None:
    assert problem(tmp_path / "none.yaml") == "FILE: no such file"


def test_many_mistakes_are_told_up_to_twenty(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("models:\n" + "".join(f"  m{n}: 1\n" for n in range(30)))
    lines = problem(path).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "FILE: and 10 more problems"
