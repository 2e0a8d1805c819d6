"""Random records of photos, and every answer of a store told from them by plain Python."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from facekit.annotate.results import Results
from facekit.annotate.walk import Found
from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.faces import Faces
from facekit.landmarks.pose import off_frontal_deg
from facekit.store import Change, FaceFilter, Store
from facekit.store.documents import digest

FOLDER = Path("/photos/of the family")
_NAMES = (
    "a.jpg",
    "a",
    "a b.jpg",
    "ä.jpg",
    "面.png",
    "A.JPG",
    "a\nb.jpg",
    "a%3a:b.jpg",
    "\udcff.jpg",
)
_FOLDERS = ("", "2019/", "2019/07/", "2019 07/", "Ünder/", "x:y/{z}/", "2019/07/\udcfe/")
CLASSES = ("mask", "no-mask", "in%correct: mask")


def paths() -> list[str]:
    """All names that records are made of, in the order of a dataset."""
    every = [folder + name for folder in _FOLDERS for name in _NAMES]
    return sorted(every, key=lambda path: path.encode("utf-8", "surrogateescape"))


def random_record(path: str, rng: random.Random, classes: tuple[str, ...] = ()) -> PhotoRecord:
    """Faces with many ties, eyes at one place now and then; none; or an error."""
    stamp = FileStamp(rng.randrange(1000), rng.randrange(1000))
    if rng.random() < 0.1:
        return PhotoRecord(path, stamp, error="truncated")
    count = rng.choice((0, 0, 1, 1, 2, 3, 7))
    points = 0 if classes else 68
    points_xy = np.array(
        [[[rng.randrange(400), rng.randrange(300)] for _ in range(points)] for _ in range(count)],
        np.float32,
    ).reshape(count, points, 2)
    for face in points_xy:
        kind = rng.random()
        if points and kind < 0.2:
            face[36:48] = 5.0  # unknown rotation
        elif points and kind < 0.6:  # turned by one of few angles, either way
            face[36:42], face[42:48] = (50, 50), (50 + rng.choice((10, -10)), rng.choice((40, 60)))
    return PhotoRecord(
        path,
        stamp,
        Faces(
            boxes_xyxy=np.array(
                [[rng.random() * 9, 2.25, 20 + rng.random() * 99, 30] for _ in range(count)],
                np.float32,
            ).reshape(count, 4),
            scores=np.array(
                sorted(rng.choice((0.1, 0.5, 0.7312, 0.9, 1.0, 0.0)) for _ in range(count))[::-1]
            ),
            points_xy=points_xy,
            point_scores=np.full((count, points), 0.5),
            size_wh=(400, 300),
            labels=np.array([rng.randrange(3) for _ in range(count)] if classes else [], np.int32),
            class_names=classes,
            channels=rng.choice((1, 3)),
            sharpness=np.array([rng.choice((0.1, 0.25, 0.5, np.nan)) for _ in range(count)]),
        ),
    )


def random_records(seed: int, classes: tuple[str, ...] = ()) -> dict[str, PhotoRecord]:
    """Two thirds of the names, in the order of a dataset."""
    rng = random.Random(seed)
    kept = [path for path in paths() if rng.random() < 0.67]
    return {path: random_record(path, rng, classes) for path in kept}


def put(
    store: Store, records: Iterable[PhotoRecord], dataset: str = "d", owner: str = "me"
) -> None:
    """Bring records into a store: those that failed leave it."""
    store.begin(dataset, str(FOLDER), owner)
    store.apply(dataset, owner, [changed(record) for record in records])


def changed(record: PhotoRecord) -> Change:
    photo = record.photo.encode("utf-8", "surrogateescape")
    return Change(photo) if record.faces is None else Change(photo, record, digest(record))


def results_of(path: Path, records: Iterable[PhotoRecord], folder: Path = FOLDER) -> Results:
    """Open the record of a run that has listed and found these photos."""
    every = list(records)
    results = Results(path, model="faces", dataset="d", folder=folder)
    results.take_listing(Found(record.photo, record.stamp, None, "") for record in every)
    for record in every:
        results.put(record)
    results.commit()
    return results


Query = Callable[[Store, str], object]
QUERIES: dict[str, Query] = {
    "all photos": lambda s, d: [each.to_dict() for each in s.photos(d)],
    "min faces": lambda s, d: [each.to_dict() for each in s.photos(d, 2)],
    "most faces": lambda s, d: [each.to_dict() for each in s.photos(d, 1, limit=3)],
    "all faces": lambda s, d: [each.to_dict() for each in s.faces(d)],
    "min score": lambda s, d: [each.to_dict() for each in s.faces(d, 0.7312)],
    "best": lambda s, d: [each.to_dict() for each in s.faces(d, 0.5, limit=5)],
    "of category": lambda s, d: [
        [each.to_dict() for each in s.faces(d, 0.1, category=name)] for name in ("face", *CLASSES)
    ],
    "rotated": lambda s, d: [each.to_dict() for each in s.rotated(d, 45.0)],
    "rotated a little": lambda s, d: [each.to_dict() for each in s.rotated(d, 0.0, limit=9)],
    "rotated of category": lambda s, d: [each.to_dict() for each in s.rotated(d, 9, category="x")],
    "such": lambda s, d: [each.to_dict() for each in s.faces(d, such=FaceFilter(60, 25, 0.2))],
    "best per folder": lambda s, d: [each.to_dict() for each in s.best_per_folder(d, 0.1)],
    "folders": lambda s, d: [each.to_dict() for each in s.folders(d)],
    "categories": lambda s, d: [each.to_dict() for each in s.categories(d)],
    "of photo": lambda s, d: [
        [each.to_dict() for each in s.faces_of(d, photo.photo)] for photo in s.photos(d)
    ],
    "stored": lambda s, d: (names := s.photo_names(d, b"", 1000), s.digests(d, names)),
    "datasets": lambda s, d: [each.to_dict() for each in s.datasets() if each.dataset == d],
}
"""Every question that a store answers."""


def expected(records: Iterable[PhotoRecord]) -> dict[str, object]:
    """Return what the queries must answer, computed without any of the store's code."""
    good = [record for record in records if record.faces is not None]
    photos, faces, folders, categories = [], [], {}, {}
    for record in good:
        found = record.faces
        assert found is not None
        photo = record.photo
        width, height = found.size_wh
        photos.append(
            {"photo": photo, "width": width, "height": height, "channels": found.channels,
             "faces": len(found)}
        )  # fmt: skip
        folder = photo.rpartition("/")[0] or "."
        counts = folders.setdefault(folder, [0, 0])
        counts[0] += 1
        counts[1] += len(found)
        for number, face in enumerate(found, 1):
            data = face.to_dict()
            known = bool(data["points_xy"])
            x1, y1, x2, y2 = data["box_xyxy"]
            category = face.class_name or "face"
            categories[category] = categories.get(category, 0) + 1
            faces.append(
                {
                    "photo": photo,
                    "number": number,
                    "category": category,
                    "score": data["score"],
                    "rotation_deg": data["rotation_deg"] if known else None,
                    "center_xy": tuple(data["center_xy"]) if known else None,
                    "box_xywh": (x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)),
                    "points_xy": tuple(tuple(point) for point in data["points_xy"]),
                    "pose_deg": tuple(data["pose_deg"]) if data["pose_deg"] else None,
                    "sharpness": data["sharpness"],
                }
            )

    def place(row: dict) -> tuple:
        return row["photo"].encode("utf-8", "surrogateescape"), row.get("number")

    photos.sort(key=lambda row: (-row["faces"], place(row)))
    faces.sort(key=lambda row: (-row["score"], place(row)))
    turned = [row for row in faces if row["rotation_deg"] is not None]
    turned.sort(key=lambda row: (-abs(row["rotation_deg"]), place(row)))
    in_bytes = lambda text: text.encode("utf-8", "surrogateescape")  # noqa: E731
    return {
        "all photos": photos,
        "min faces": [row for row in photos if row["faces"] >= 2],
        "most faces": [row for row in photos if row["faces"] >= 1][:3],
        "all faces": faces,
        "min score": [row for row in faces if row["score"] >= 0.7312],
        "best": [row for row in faces if row["score"] >= 0.5][:5],
        "of category": [
            [row for row in faces if row["category"] == name and row["score"] >= 0.1]
            for name in ("face", *CLASSES)
        ],
        "rotated": [row for row in turned if abs(row["rotation_deg"]) > 45],
        "rotated a little": [row for row in turned if abs(row["rotation_deg"]) > 0][:9],
        "rotated of category": [],
        "such": [
            row
            for row in faces
            if row["pose_deg"] is not None
            and off_frontal_deg([row["pose_deg"]])[0] <= 60
            and min(row["box_xywh"][2:]) >= 25
            and (row["sharpness"] or 0) >= 0.2
        ],
        "best per folder": [
            max(
                (r for r in faces if r["photo"].rpartition("/")[0] == name and r["score"] >= 0.1),
                key=lambda r: r["sharpness"] or 0,
            )
            for name in sorted(
                {r["photo"].rpartition("/")[0] for r in faces if r["score"] >= 0.1}, key=in_bytes
            )
        ],
        "folders": [
            {"folder": name, "photos": folders[name][0], "faces": folders[name][1]}
            for name in sorted(folders, key=lambda name: in_bytes(name) if name != "." else b"")
        ],
        "categories": [
            {"category": name, "faces": categories[name]} for name in sorted(categories)
        ],
        "of photo": [
            sorted((r for r in faces if r["photo"] == row["photo"]), key=lambda r: r["number"])
            for row in photos
        ],
    }


def answers(store: Store, dataset: str) -> dict[str, object]:
    """Return a store's answers to every question."""
    return {name: query(store, dataset) for name, query in QUERIES.items()}


def check(store: Store, dataset: str, records: Iterable[PhotoRecord]) -> None:
    """Compare each answer of a store with the plain one."""
    found = answers(store, dataset)
    for name, rows in expected(records).items():
        assert found[name] == rows, name
