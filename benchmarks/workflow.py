"""The published notebook's way to landmarks and to a COCO file, and ``annotate`` beside it.

For landmarks the notebook asks for the boxes, then sends the whole photo once more for every face,
one blocking call after another, and takes all three of FPENet's outputs, maps included. As requests
(``seed_job``) the boxes come from ``facenet_ensemble``, because a client without a GPU can't decode
and resize as fast as the notebook does on its own; boxes are cut to whole pixels, as
``fpenet_ensemble`` takes them.

For a folder (``seed_annotate``) it is rebuilt as it is: batches of 32 that DALI decodes and resizes
in the client, one blocking ``facenet_resized`` request a batch with 117 MB of network input, one
blocking request a face, ``eval`` on the answers' text, everything held in memory, one ``json.dump``
at the end. Mended is only what could not run: a face is sent with its own photo's bytes (the
notebook sends the whole batch's), and the boxes come as numbers, which are made the text that
``eval`` reads.
"""

import functools
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from nvidia.dali import fn, pipeline_def, types

from benchmarks.configuration import cores
from benchmarks.load import Array, Job, Sender, read_answer, request
from benchmarks.photos import PhotoSet, write_folder
from benchmarks.rates import in_turns, timed
from benchmarks.results import BARE_REQUESTS, NOTEBOOK_LOOP, comparison
from facekit.annotate import Options, Outputs, annotate
from facekit.contract import NETWORK_HEIGHT, NETWORK_WIDTH
from facekit.errors import ServerError
from facekit.landmarks.eyes import centers_xy, rotations_deg

BATCH_SIZE = 32
"""The notebook's ``batch_size``."""
FPENET_OUTPUTS = ("conv_keypoints_m80", "softargmax", "softargmax:1")
_DETECTIONS = ("true_boxes", "true_proba", "true_image_size")
_FACE_CATEGORY_ID = 1


def seed_job(sender: Sender, photo: Array) -> Job:
    """Return the requests that the notebook sends for one photo, the boxes known in advance.

    The load then spends no time of its own on reading boxes out of answers. Raises ServerError if
    the server does not tell the boxes.
    """
    batch = photo[None]
    return [
        request("facenet_ensemble", {"input_image_data": batch}, _DETECTIONS),
        *(_face_request(batch, box) for box in sender.find_boxes(photo)),
    ]


def compare_workflows(
    sender: Sender,
    url: str,
    photos: PhotoSet,
    count: int,
    *,
    concurrency: int,
    pairs: int,
    cpu_s: Callable[[], float],
    advance: Callable[[], None],
) -> list[dict[str, Any]]:
    """Measure ``annotate`` over a folder beside the notebook's loop, and beside bare requests.

    Each run of ``annotate`` begins with nothing, so that its time is that of the listing, of the
    record of results and of the COCO file too. The folder has ``count`` files; ``cpu_s`` returns
    the processor time that the server has used so far, seconds; ``advance`` is called after every
    measurement. Raises ServerError if a request failed, or the ways find different numbers of
    faces.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, scratch = Path(name, "photos"), Path(name, "out")
        files, title = write_folder(folder, photos, count)
        found = _annotate(url, folder, scratch, concurrency, False)  # warms up server and files
        bare = [request("faces", {"image": np.fromfile(f, np.uint8)[None]}) for f in files]

        def checked(name: str, faces: int) -> int:
            if faces != sum(found):
                raise ServerError(f"{name} finds {faces} faces; annotate found {sum(found)} before")
            return count

        def ours(notebook_fields: bool) -> int:
            faces = sum(_annotate(url, folder, scratch, concurrency, notebook_fields))
            return checked("annotate", faces)

        def notebook() -> int:
            faces = seed_annotate(sender, files, scratch / "notebook.json")
            return checked("the notebook's loop", faces)

        def requests() -> int:
            with ThreadPoolExecutor(concurrency) as pool:
                return sum(1 for _ in pool.map(sender.send, bare))

        def total_cpu_s() -> float:
            return cpu_s() + time.process_time()

        # The notebook writes rotation, center and segmentation; beside it, so does `annotate`.
        ways = ((NOTEBOOK_LOOP, 1, True, notebook), (BARE_REQUESTS, concurrency, False, requests))
        rows = []
        for against, their_concurrency, fields, theirs in ways:
            turns = in_turns(
                functools.partial(timed, functools.partial(ours, fields), total_cpu_s),
                functools.partial(timed, theirs, total_cpu_s),
                pairs=pairs,
                advance=advance,
            )
            names, at_a_time = ("annotate", against), (concurrency, their_concurrency)
            row = comparison(names, photos, sorted(set(found)), at_a_time, turns)
            rows.append({**row, "photos": title})
        return rows


def _annotate(
    url: str, folder: Path, scratch: Path, concurrency: int, notebook_fields: bool
) -> list[int]:
    """Annotate the folder anew, and return how many faces are in each photo."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    outputs = Outputs(coco=scratch / "instances.json", seed_fields=notebook_fields)
    summary = annotate(folder, outputs, Options(urls=(url,), concurrency=concurrency))
    if summary.failures:
        raise ServerError(f"{summary.failures} photos failed, see {outputs.failures}")
    data = json.loads((scratch / "instances.json").read_bytes())
    faces = Counter(face["image_id"] for face in data["annotations"])
    return [faces[image["id"]] for image in data["images"]]


def seed_annotate(sender: Sender, files: Sequence[Path], coco_file: Path) -> int:
    """Annotate photos as the notebook does, and return how many faces were found.

    DALI gets as many threads as there are cores. A broken photo or request stops the notebook too.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for network_input, shapes, encoded in _batches(files):
        inputs = {"input_1": network_input, "true_image_size": shapes}
        answer = sender.ask("facenet_resized", inputs)
        for k, shape in enumerate(shapes.tolist()):
            index = len(images)
            size = dict(zip(("height", "width", "channels"), shape, strict=True))
            images.append({"id": index, **size, "file_name": str(files[index])})
            boxes = answer["true_boxes"][k, : int(answer["true_count"][k, 0])]
            for text in eval(repr([list(map(str, box)) for box in boxes.tolist()])):
                box = np.array([eval(side) for side in text])
                data = sender.send(_face_request(encoded[k][None], box.astype(np.int32)))
                points = read_answer(data, FPENET_OUTPUTS)["softargmax"]
                annotations.append(
                    {
                        "image_id": index,
                        "bbox": box.tolist(),
                        "rotation": float(rotations_deg(points)[0]),
                        "center": centers_xy(points)[0].tolist(),
                        "category_id": _FACE_CATEGORY_ID,
                        "segmentation": points[0].tolist(),
                    }
                )
    category = {"supercategory": "Face", "id": _FACE_CATEGORY_ID, "name": "Face"}
    with coco_file.open("w", encoding="utf-8") as file:
        json.dump({"images": images, "annotations": annotations, "categories": [category]}, file)
    return len(annotations)


def _face_request(batch: Array, box: Array) -> bytes:
    inputs = {"raw_image_data": batch, "true_boxes": box[None]}
    return request("fpenet_ensemble", inputs, FPENET_OUTPUTS)


def _batches(files: Sequence[Path]) -> Iterator[tuple[Array, Array, list[Array]]]:
    """Yield network inputs float32 (n, 3, H, W), sizes int64 (n, 3), and each photo's bytes."""
    pipeline = _pipeline(
        [str(file) for file in files], batch_size=BATCH_SIZE, num_threads=cores(), device_id=None
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
