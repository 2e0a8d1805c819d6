"""``infer``: find the objects in photos, draw them, and write label files."""

import argparse
import io
import logging
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from facekit.annotations.output import claim_folder
from facekit.detection.postprocess import Detections
from facekit.draw import draw_tag, place_tags
from facekit.errors import DataError, FacekitError, writing
from facekit.faces import Face
from facekit.files import FolderLock, write_whole
from facekit.labels.kitti import kitti_line, written_box
from facekit.photos.formats import PHOTO_SUFFIXES
from facekit.progress import ProgressBar
from training.detector.files import add_model, add_threads, check_detector, open_detector
from training.detector.inference import Detector, find_boxes
from training.experiment.inference import InferenceSpec, read_inference
from training.facesets import load_image

LOGGER = logging.getLogger("training")
DRAWN, LABELS = "images_annotated", "labels"
"""Folders of what is written, named as TLT's."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command; the short ones are TLT's."""
    for short, name, text in (
        ("-e", "--inference_spec", "the inference spec"),
        ("-i", "--inference_input", "a photo, or a folder of photos"),
        ("-o", "--inference_output", "folder of what is written"),
    ):
        parser.add_argument(short, name, type=Path, required=True, help=text)
    add_model(parser, required=False, text="the network (default: the one that the spec names)")
    add_threads(parser)


def run(options: argparse.Namespace) -> int:
    """Run the command; the status is 1 where a photo could not be used.

    Raises DataError if the spec or the network can't be used, the source contains no photos, or the
    output folder can't be written to.
    """
    spec, out = read_inference(options.inference_spec), options.inference_output
    with FolderLock(out):
        wanted = spec.bbox_handler_config
        for folder, written, what in (
            (DRAWN, not wanted.disable_overlay, "the pictures of an earlier run"),
            (LABELS, wanted.kitti_dump, "the label files of an earlier run"),
        ):
            if written:
                claim_folder(out / folder, what)
        path = options.model or spec.model
        if path is None:
            raise DataError(spec.path, "does not name a network: name one with -m")
        detector = open_detector(path, options.threads)
        check_detector(detector, path, spec.class_names, spec.size_wh, spec.path)
        counts, failed = infer(detector, spec, options.inference_input, out)
    found = ", ".join(f"{count} {name}" for name, count in counts.items())
    sys.stdout.write(f"{out}: {found}; {failed} photos unusable\n")
    return int(failed > 0)


def infer(
    detector: Detector, spec: InferenceSpec, source: Path, out: Path
) -> tuple[dict[str, int], int]:
    """Find the objects of every photo, and write what the spec asks for.

    ``source`` is a photo, or a folder of photos; ``images_annotated/<photo>`` and
    ``labels/<photo's stem>.txt`` are written under ``out``. A photo that can't be used is named,
    counted and left out. Returns how many objects of each class were found, and how many photos
    could not be used; raises DataError if the source contains no photos.
    """
    photos = find_photos(source)
    clustering = [entry.clustering for entry in spec.classes]
    counts = dict.fromkeys(spec.class_names, 0)
    failed = 0
    stems: dict[str, Path] = {}
    with ProgressBar(len(photos), "photos") as bar:
        for path in photos:
            try:
                other = stems.setdefault(path.stem, path)
                if other != path:
                    raise DataError(path, f"would be written over what {other.name} gives")
                image = load_image(path)
                found = with_area(find_boxes(detector, image, clustering))
                write(image, found, spec, out, path.name)
            except FacekitError as error:
                failed += 1
                LOGGER.warning("%s", error)
                bar.advance(failed=True)
                continue
            for index in found.class_ids:
                counts[spec.class_names[index]] += 1
            bar.advance()
    return counts, failed


def find_photos(source: Path) -> list[Path]:
    """Return a photo, or those of a folder in order of their names; raises DataError for none."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(source, "no such photo or folder")
    found = sorted(
        p for p in source.iterdir() if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file()
    )
    if not found:
        raise DataError(source, f"contains no photos ({', '.join(PHOTO_SUFFIXES)})")
    return found


def with_area(found: Detections) -> Detections:
    """Return what was found without boxes wholly outside the photo, which a label can't hold."""
    kept = np.array([written_box(box) is not None for box in found.boxes_xyxy.tolist()], dtype=bool)
    return Detections(found.boxes_xyxy[kept], found.scores[kept], found.class_ids[kept])


def write(image: Image.Image, found: Detections, spec: InferenceSpec, out: Path, name: str) -> None:
    """Write a photo with its boxes, and its label file, as the spec asks for.

    Raises DataError if a file can't be written.
    """
    wanted = spec.bbox_handler_config
    if not wanted.disable_overlay:
        path = out / DRAWN / name
        content = io.BytesIO()
        try:
            kind = Image.registered_extensions()[path.suffix.lower()]
            draw(image, found, spec).save(content, format=kind)
        except (KeyError, OSError, ValueError) as error:
            raise DataError(path, f"cannot be written as a picture: {error}") from error
        with writing(path):
            write_whole(path, content.getvalue(), sync=False)
    if wanted.kitti_dump:
        path = out / LABELS / f"{Path(name).stem}.txt"
        with writing(path):
            write_whole(path, label_text(found, spec), sync=False)


def label_text(found: Detections, spec: InferenceSpec) -> str:
    """Return the objects in KITTI's form, each with its score as a sixteenth field."""
    lines = []
    for box, score, index in zip(found.boxes_xyxy, found.scores, found.class_ids, strict=True):
        lines.append(f"{kitti_line(spec.classes[index].name, box.tolist())} {score:.4f}\n")
    return "".join(lines)


def draw(image: Image.Image, found: Detections, spec: InferenceSpec) -> Image.Image:
    """Return a copy of a photo with boxes in the spec's colors and width, the surest on top.

    Tags are the kit's: a class and its score, or less where that would cover another face.
    """
    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    line_width = spec.bbox_handler_config.overlay_linewidth
    none = np.zeros((0, 2), np.float32)
    faces = [
        Face(box, float(score), none, none[:, 0], spec.classes[index].name)
        for box, score, index in zip(found.boxes_xyxy, found.scores, found.class_ids, strict=True)
    ]
    order = [int(k) for k in np.argsort(found.scores, kind="stable")]
    for k in order:
        entry = spec.classes[found.class_ids[k]]
        left, top, right, bottom = found.boxes_xyxy[k].tolist()
        pen.rectangle((left, top, right, bottom), outline=entry.color_rgb, width=line_width)
    for k, tag in place_tags(drawn, faces, order[::-1], with_scores=True).items():
        draw_tag(drawn, tag, spec.classes[found.class_ids[k]].color_rgb)
    return drawn
