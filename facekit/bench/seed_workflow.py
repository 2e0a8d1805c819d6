"""The published notebook's way from a folder to a COCO file, which ``annotate`` replaces.

Rebuilt as the notebook has it: batches of 32 that DALI decodes and resizes in the client, one
blocking ``facenet_resized`` request a batch with 117 MB of network input, then one blocking
``fpenet_ensemble`` request a face with the whole photo in it and all three outputs, ``eval`` on the
answers' text, everything held in memory, one ``json.dump`` at the end. Mended is only what could
not run: a face is sent with its own photo's bytes (the notebook sends the whole batch's), and the
boxes come as numbers, which are made the text that ``eval`` reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nvidia.dali import fn, pipeline_def, types

from facekit.bench.wire import Sender, request
from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.landmarks.eyes import centers_xy, rotations_deg

BATCH_SIZE = 32
"""The notebook's ``batch_size``."""
_FPENET_OUTPUTS = ("conv_keypoints_m80", "softargmax", "softargmax:1")
_FACE_CATEGORY_ID = 1

Array = npt.NDArray[Any]


def seed_annotate(sender: Sender, files: Sequence[Path], coco_file: Path, threads: int) -> int:
    """Annotate photos as the notebook does, and return how many faces were found.

    Args:
        sender: The server to ask.
        files: Photos that can be decoded; a broken one stops the notebook.
        coco_file: Where the result is written.
        threads: DALI's; the notebook takes as many as there are cores.

    Raises:
        ServerError: A request failed, which stops the notebook too.
    """
    data: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"supercategory": "Face", "id": _FACE_CATEGORY_ID, "name": "Face"}],
    }
    index = 0
    for images, shapes, encoded in _batches(files, threads):
        answer = sender.ask("facenet_resized", {"input_1": images, "true_image_size": shapes})
        for k, shape in enumerate(shapes):
            boxes = answer["true_boxes"][k, : int(answer["true_count"][k, 0])]
            data["images"].append(
                {
                    "id": index,
                    "height": int(shape[0]),
                    "width": int(shape[1]),
                    "channels": int(shape[2]),
                    "file_name": str(files[index]),
                }
            )
            for text in eval(repr([list(map(str, box)) for box in boxes.tolist()])):
                box = np.array([eval(side) for side in text])
                points = _landmarks(sender, encoded[k], box.astype(np.int32))
                data["annotations"].append(
                    {
                        "image_id": index,
                        "bbox": box.tolist(),
                        "rotation": float(rotations_deg(points)[0]),
                        "center": centers_xy(points)[0].tolist(),
                        "category_id": _FACE_CATEGORY_ID,
                        "segmentation": points[0].tolist(),
                    }
                )
            index += 1
    with coco_file.open("w", encoding="utf-8") as file:
        json.dump(data, file)
    return len(data["annotations"])


def _landmarks(sender: Sender, photo: Array, box: npt.NDArray[np.int32]) -> Array:
    """Return the points of one face as the network gives them, float32 (1, K, 2)."""
    from tritonclient.grpc import InferResult, service_pb2

    inputs = {"raw_image_data": photo[None], "true_boxes": box[None]}
    data = sender.send(request("fpenet_ensemble", inputs, _FPENET_OUTPUTS))
    result = InferResult(service_pb2.ModelInferResponse.FromString(data))
    points: Array = result.as_numpy(_FPENET_OUTPUTS[1])
    return points


def _batches(files: Sequence[Path], threads: int) -> Iterator[tuple[Array, Array, list[Array]]]:
    """Yield network inputs float32 (n, 3, H, W), sizes int64 (n, 3), and each photo's bytes."""
    pipeline = _pipeline(
        [str(file) for file in files], batch_size=BATCH_SIZE, num_threads=threads, device_id=None
    )
    pipeline.build()
    for start in range(0, len(files), BATCH_SIZE):
        count = min(BATCH_SIZE, len(files) - start)
        images, shapes, encoded = pipeline.run()
        yield (
            np.asarray(images.as_array()[:count]),
            np.asarray(shapes.as_array()[:count], dtype=np.int64),
            [np.asarray(encoded.at(k)) for k in range(count)],
        )


@pipeline_def  # type: ignore[untyped-decorator, unused-ignore]
def _pipeline(files: list[str]) -> Any:
    encoded, _ = fn.readers.file(
        files=files, random_shuffle=False, pad_last_batch=True, name="Encoder", read_ahead=True
    )
    photo = fn.decoders.image(encoded, output_type=types.RGB)
    network = fn.resize(
        photo, size=[NETWORK_HEIGHT, NETWORK_WIDTH], interp_type=types.INTERP_LINEAR
    )
    images = fn.crop_mirror_normalize(
        network, dtype=types.FLOAT, output_layout="CHW", mean=[0.0] * 3, std=[255.0] * 3
    )
    return images, photo.shape(), encoded
