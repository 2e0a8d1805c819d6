"""``facemask_ensemble`` on the real server: the same chain as the face path, with labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.postprocess import face_grids
from facekit import Client
from facekit.contract import CLASS_NAMES, MODELS
from facekit.data import probe_photo
from facekit.detection.parameters import ClusteringParameters, parse_parameters
from facekit.engines.configs import read_config
from facekit.serving.embedded import EmbeddedServer
from facekit.serving.health import check
from tests import reference
from tests.photo_files import encode, picture
from tests.served.conftest import Call
from tests.triton import batch

CONFIG = Path(__file__).parents[2] / "model_repository" / "facemask_postprocess" / "config.pbtxt"
SIZE_WH = (1280, 853)


def parameters() -> list[ClusteringParameters]:
    values = {k: v.string_value for k, v in read_config(CONFIG).parameters.items()}
    return parse_parameters(values, CLASS_NAMES["facemask"], others=("label_file",))


def test_ensemble_of_a_batch_gives_every_output_and_labels_its_boxes(call: Call) -> None:
    photos = [probe_photo(), encode(picture(), "PNG"), probe_photo()]
    found = call("facemask_ensemble", {"input_image_data": batch(photos)})
    assert set(found) == {tensor.name for tensor in MODELS["facemask_ensemble"].outputs}
    labels, counts = found["true_labels"], found["true_count"][:, 0]
    assert labels.dtype == np.int32 and labels.shape == found["true_boxes"].shape[:2]
    assert counts[0] == counts[2]
    for row, count in zip(labels, counts, strict=True):
        assert set(row[:count]) <= {0, 1} and set(row[count:]) <= {-1}


def test_ensemble_is_its_steps_one_after_the_other(call: Call) -> None:
    photo = batch([probe_photo()])
    checked = call("photo_check", {"image": photo})
    planes = call("facemask_preprocess", {k: checked[k] for k in ("photo", "orientation")})
    grids = call("facemask", planes)
    size = {"true_image_size": checked["true_image_size"]}
    expected = call("facemask_postprocess", {**grids, **size})
    found = call("facemask_ensemble", {"input_image_data": photo})
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("faces", [0, 1, 10, 40])
def test_postprocess_equals_the_reference_of_each_class(call: Call, faces: int) -> None:
    rng, chosen = np.random.default_rng(faces), parameters()
    for _ in range(5):
        grids = [face_grids(rng, faces) for _ in CLASS_NAMES["facemask"]]
        inputs = {
            "output_bbox/BiasAdd": np.concatenate([bbox for bbox, _ in grids])[None],
            "output_cov/Sigmoid": np.concatenate([cov for _, cov in grids])[None],
            "true_image_size": np.array([[SIZE_WH[1], SIZE_WH[0], 3]]),
        }
        found = call("facemask_postprocess", inputs)
        boxes, scores, classes = reference.detect_classes(grids, SIZE_WH, chosen)
        assert found["true_count"].tolist() == [[len(boxes)]]
        assert found["true_labels"][0].tolist() == classes.tolist()
        np.testing.assert_allclose(found["true_boxes"][0], boxes, atol=1e-3)
        np.testing.assert_allclose(found["true_proba"][0, :, 0], scores, atol=1e-6)


def test_client_gets_the_labels_of_the_real_server(server: EmbeddedServer, call: Call) -> None:
    with Client(server.grpc_url) as client:
        faces = client.detect(probe_photo(), model="facemask_ensemble")
    raw = call("facemask_ensemble", {"input_image_data": batch([probe_photo()])})
    assert faces.class_names == CLASS_NAMES["facemask"]
    assert faces.labels.tolist() == raw["true_labels"][0].tolist()
    np.testing.assert_array_equal(faces.boxes_xyxy, raw["true_boxes"][0])


def test_probe_photo_s_face_wears_no_mask(server: EmbeddedServer) -> None:
    with Client(server.grpc_url) as client:
        masks = client.detect(probe_photo(), model="facemask_ensemble")
        faces = client.detect(probe_photo(), model="facenet_ensemble")
    assert masks[0].class_name == "no-mask"
    np.testing.assert_allclose(masks[0].box_xyxy, faces[0].box_xyxy, atol=25)


def test_health_check_asks_it(server: EmbeddedServer) -> None:
    (probed,) = (m for m in check(server.grpc_url).models if m.name == "facemask_ensemble")
    assert probed.ok and probed.latency_ms > 0
