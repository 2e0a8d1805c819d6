"""Compare covered faces with what they were; ``benchmarks.unrecognizable`` starts this file.

It imports nothing of the kit: the environment has dlib alone. Each ``.npz`` of the folder that it
is given holds ``face``, its box x1 y1 x2 y2, and pictures of one size by name, uint8 (H, W, 3) RGB.
For each a line of JSON goes out: the file's ``name``, by picture the ``distance`` of dlib's
embedding to that of the one called ``original``, whether dlib's own detector has ``found`` a face
there, and the original's distances to all ``others`` before it. The attack is an easy one: it is
given the face's box and the landmarks of the original, and the lesser distance counts of the chip
at these and of that at landmarks found in the covered face.
"""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np


def embeddings(picture: Any, shapes: list[Any], network: Any) -> Any:
    """Return dlib's embeddings of a face at several landmarks: (n, 128)."""
    return np.array([network.compute_face_descriptor(picture, shape) for shape in shapes])


def main() -> None:
    """Write a line for each file of the folder."""
    import dlib

    spec = find_spec("face_recognition_models")
    assert spec is not None and spec.submodule_search_locations is not None
    folder = f"{spec.submodule_search_locations[0]}/models"
    predictor = dlib.shape_predictor(f"{folder}/shape_predictor_68_face_landmarks.dat")
    network = dlib.face_recognition_model_v1(f"{folder}/dlib_face_recognition_resnet_model_v1.dat")
    detector = dlib.get_frontal_face_detector()
    before: list[Any] = []
    for path in sorted(Path(sys.argv[1]).glob("*.npz")):
        with np.load(path) as file:
            pictures = {name: np.ascontiguousarray(file[name]) for name in file.files}
        x1, y1, x2, y2 = (round(float(side)) for side in pictures.pop("face"))
        given = dlib.rectangle(x1, y1, x2, y2)
        original = pictures.pop("original")
        found = [box for box in detector(original) if box.contains(given.center())]
        box = found[0] if found else given
        shape = predictor(original, box)
        (own,) = embeddings(original, [shape], network)
        others = [float(np.linalg.norm(own - other)) for other in before]
        before.append(own)
        distances, seen = {}, {}
        for name, picture in pictures.items():
            shapes = [shape, predictor(picture, box)]
            away = embeddings(picture, shapes, network) - own
            distances[name] = float(np.linalg.norm(away, axis=1).min())
            seen[name] = any(each.contains(given.center()) for each in detector(picture))
        row = {"name": path.stem, "distance": distances, "found": seen, "others": others}
        sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
