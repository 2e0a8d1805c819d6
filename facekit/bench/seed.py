"""The published way to get landmarks, which ``faces`` replaces, as requests.

The notebook asks for the boxes, then sends the whole photo once more for every face, one blocking
call after another, and takes all three of FPENet's outputs, maps included. Here the boxes come from
``facenet_ensemble``, where the notebook decodes and resizes on its own GPU and calls
``facenet_resized``: a client without a GPU could not do that. Boxes are cut to whole pixels, as
``fpenet_ensemble`` takes them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from facekit.bench.wire import Job, Sender, request

OUTPUTS = ("conv_keypoints_m80", "softargmax", "softargmax:1")
_DETECTIONS = ("true_boxes", "true_proba", "true_image_size")


def seed_job(sender: Sender, photo: npt.NDArray[np.uint8]) -> Job:
    """Return the requests that the notebook sends for one photo, the boxes known in advance.

    The load then spends no time of its own on reading boxes out of answers.

    Raises:
        ServerError: The photo's boxes can't be had.
    """
    batch = photo[None]
    boxes = find_boxes(sender, photo)
    return [
        request("facenet_ensemble", {"input_image_data": batch}, _DETECTIONS),
        *(
            request("fpenet_ensemble", {"raw_image_data": batch, "true_boxes": box[None]}, OUTPUTS)
            for box in boxes
        ),
    ]


def find_boxes(sender: Sender, photo: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Return the boxes of ``facenet_ensemble`` in whole pixels, int32 (N, 4)."""
    answer = sender.ask("facenet_ensemble", {"input_image_data": photo[None]})
    count = int(answer["true_count"][0, 0])
    return np.asarray(answer["true_boxes"][0, :count].astype(np.int32))
