"""``facenet_postprocess`` on the real server, in every algorithm and with wrong parameters."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient

from benchmarks.postprocess import face_grids
from facekit.detection.parameters import ALGORITHMS, ClusteringParameters
from facekit.errors import SetupError
from facekit.serving.embedded import EmbeddedServer
from tests import reference
from tests.shared import shared
from tests.triton import infer

MODEL = Path(__file__).parents[2] / "model_repository" / "facenet_postprocess"
TUNED = ClusteringParameters(coverage_threshold=0.1, dbscan_eps=0.4, nms_confidence_threshold=0.2)


def copy_model(
    repository: Path,
    name: str,
    parameters: dict[str, str],
    labels: str = "face\n",
    classes: int = 1,
) -> None:
    """Put a copy of ``facenet_postprocess`` with other parameters under another name."""
    shutil.copytree(MODEL, repository / name, ignore=shutil.ignore_patterns("configs"))
    (repository / name / "labels.txt").write_text(labels)
    path = repository / name / "config.pbtxt"
    kept = [line for line in path.read_text().splitlines() if not line.startswith("parameters")]
    text = "\n".join(kept).replace("facenet_postprocess", name)
    text = text.replace("[ 4, 26, 46 ]", f"[ {4 * classes}, 26, 46 ]")
    text = text.replace("[ 1, 26, 46 ]", f"[ {classes}, 26, 46 ]")
    for key, value in {"label_file": "labels.txt", **parameters}.items():
        text += f'\nparameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'
    path.write_text(text)


def as_text(chosen: ClusteringParameters) -> dict[str, str]:
    return {name: str(value) for name, value in vars(chosen).items()}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[grpcclient.InferenceServerClient]:
    repository = tmp_path_factory.mktemp("repository")
    for algorithm in ALGORITHMS:
        chosen = replace(TUNED, clustering_algorithm=algorithm)
        copy_model(repository, f"post_{algorithm.lower()}", as_text(chosen))
    copy_model(
        repository,
        "post_mask",
        {"clustering_algorithm": "NMS", "nms_confidence_threshold": "0.2, 0.6"},
        labels="mask\nno_mask\n",
        classes=2,
    )
    with shared(EmbeddedServer(repository)) as server:
        with grpcclient.InferenceServerClient(server.grpc_url) as client:
            yield client


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_random_grids_equal_the_scikit_learn_reference(
    client: grpcclient.InferenceServerClient, algorithm: str
) -> None:
    chosen = replace(TUNED, clustering_algorithm=algorithm)
    rng = np.random.default_rng(7)
    for _ in range(5):
        grids = [face_grids(rng, faces) for faces in (0, 1, 5, 10, 20, 40)]
        sizes = rng.integers(50, 5000, (len(grids), 2))
        found = infer(
            client,
            grpcclient,
            f"post_{algorithm.lower()}",
            {
                "output_bbox/BiasAdd": np.stack([bbox for bbox, _ in grids]),
                "output_cov/Sigmoid": np.stack([cov for _, cov in grids]),
                "true_image_size": np.array([[h, w, 3] for h, w in sizes]),
            },
        )
        boxes, proba = found.as_numpy("true_boxes"), found.as_numpy("true_proba")
        counts = found.as_numpy("true_count")
        for i, ((bbox, cov), (h, w)) in enumerate(zip(grids, sizes, strict=True)):
            expected, scores = reference.detect(bbox, cov, (int(w), int(h)), chosen)
            assert counts[i, 0] == len(expected)
            np.testing.assert_allclose(boxes[i, : len(expected)], expected, atol=1e-3)
            np.testing.assert_allclose(proba[i, : len(expected), 0], scores, atol=1e-6)
            assert not boxes[i, len(expected) :].any()


def test_two_classes_have_parameters_of_their_own(
    client: grpcclient.InferenceServerClient,
) -> None:
    cov = np.zeros((1, 2, 26, 46), np.float32)
    cov[0, :, 5, 5] = 0.5  # enough for a mask, not for no mask
    inputs = {
        "output_bbox/BiasAdd": np.ones((1, 8, 26, 46), np.float32),
        "output_cov/Sigmoid": cov,
        "true_image_size": np.array([[416, 736, 3]]),
    }
    found = infer(client, grpcclient, "post_mask", inputs)
    assert found.as_numpy("true_count").tolist() == [[1]]


@pytest.mark.parametrize(
    ("parameters", "labels", "message"),
    [
        ({"dbscan_epsilon": "0.3"}, "face\n", "unknown parameter 'dbscan_epsilon'; known are"),
        ({"dbscan_eps": "2"}, "face\n", "dbscan_eps is 2; it must be between 0 and 1"),
        ({"coverage_threshold": "half"}, "face\n", "coverage_threshold is 'half'; a number is"),
        ({"clustering_algorithm": "OPTICS"}, "face\n", "clustering_algorithm is 'OPTICS'; it must"),
        ({}, "mask\nno_mask\n", "names 2 classes; `output_cov/Sigmoid` has 1"),
        ({"label_file": "names.txt"}, "face\n", "names.txt: no such file"),
    ],
)
def test_wrong_parameter_fails_the_load_with_a_sentence(
    tmp_path: Path, parameters: dict[str, str], labels: str, message: str
) -> None:
    copy_model(tmp_path, "post", parameters, labels)
    with pytest.raises(SetupError, match=re.escape(message)):
        EmbeddedServer(tmp_path).__enter__()
