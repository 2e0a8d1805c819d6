"""Records of photos, those of earlier versions among them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from facekit.annotations.record import FileStamp, PhotoRecord
from facekit.errors import InputError
from facekit.selection import FaceLimits
from facekit.store.documents import digest
from tests.annotations.random_photos import random_faces

FACES = replace(random_faces(np.random.default_rng(1), 3), sharpness=[0.12344, np.nan, 0.5])
RECORD = PhotoRecord("a.jpg", FileStamp(1, 2), FACES)


def test_what_is_written_is_read_back() -> None:
    line = RECORD.to_json()
    assert json.loads(line)["sharpness"] == [0.1234, None, 0.5]
    again = PhotoRecord.from_json(line)
    assert again == RECORD and again.faces == RECORD.faces and digest(again) == digest(RECORD)


def test_records_without_a_sharpness_are_written_and_known_as_before() -> None:
    old = PhotoRecord("a.jpg", FileStamp(1, 2), replace(FACES, sharpness=np.zeros(0)))
    assert "sharpness" not in old.to_json()
    again = PhotoRecord.from_json(old.to_json())
    assert again == old and np.isnan(again.faces.sharpness).all()
    # What a run of an earlier version recorded keeps its digest, so that it is not damaged.
    assert digest(again) == digest(old) != digest(RECORD)
    fixed = PhotoRecord.from_json(
        '{"photo":"a","size":1,"mtime_ns":2,"size_wh":[9,9],"channels":3,"point_count":0,'
        '"boxes_xyxy":[[1.0,2.0,3.0,4.0]],"scores":[0.5],"points_xy":[[]],"point_scores":[[]]}'
    )
    assert digest(fixed) == "93099efaa248b79f4dca"


def test_faces_outside_the_limits_are_left_out() -> None:
    assert RECORD.within(FaceLimits()) is RECORD
    assert RECORD.within(FaceLimits(min_sharpness=0.2)).faces == RECORD.faces[[2]]
    failed = PhotoRecord("b.jpg", FileStamp(1, 2), error="empty")
    assert failed.within(FaceLimits(min_score=1)) is failed
    old = PhotoRecord("a.jpg", FileStamp(1, 2), replace(FACES, sharpness=np.zeros(0)))
    with pytest.raises(InputError, match="a.jpg: min_sharpness: these faces have no sharpness"):
        old.within(FaceLimits(min_sharpness=0.1))
