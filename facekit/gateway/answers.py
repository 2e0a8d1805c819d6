"""What REST answers: faces as JSON or drawn into their photo, and how OpenAPI describes them."""

import json
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Annotated, Any

from pydantic import BaseModel, Field
from starlette.responses import Response

from facekit.draw import draw_into
from facekit.faces import Faces
from facekit.photos.check import check_photo, is_jpeg
from facekit.photos.reduced import upright_picture

MAX_DRAWN_PIXELS = 16_000_000
"""Pixels of a drawn photo: a larger one is drawn at a half, a quarter or an eighth of its sides."""

_SCALES = (1, 2, 4, 8)
_QUALITY = 90

Pair = Annotated[list[float], Field(min_length=2, max_length=2)]


# A field with a factory is one that an answer may lack; OpenAPI would state another default.
class Face(BaseModel):
    """One face, in pixels of the upright photo, x right, y down."""

    box_xyxy: Annotated[list[float], Field(min_length=4, max_length=4)] = Field(
        description="left, top, right, bottom"
    )
    score: float = Field(
        default_factory=float, description="0 to 1; left out where the boxes were given"
    )
    class_name: str = Field(
        default_factory=str, description="mask or no-mask; left out without classes"
    )
    rotation_deg: float | None = Field(description="of the line of the eyes, clockwise as seen")
    center_xy: Pair | None = Field(description="between the eyes")
    pose_deg: Annotated[list[float], Field(min_length=3, max_length=3)] | None = Field(
        description="yaw, pitch, roll: turned to the picture's right, up, and clockwise"
    )
    sharpness: float | None = Field(
        default_factory=float, description="0 to 1; null where it is not known"
    )
    points_xy: list[Pair] = Field(description="68 landmarks; none where only boxes were asked for")
    point_scores: list[float] = Field(description="of each landmark; not calibrated")


class PhotoAnswer(BaseModel):
    """The faces of one photo, best first."""

    model: str
    size_wh: Annotated[list[int], Field(min_length=2, max_length=2)] = Field(
        description="of the upright photo in pixels"
    )
    notes: list[str] = Field(
        default_factory=list, description="what may have been missed; left out if none"
    )
    faces: list[Face]


class Problem(BaseModel):
    """What went wrong with a request (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="what is wrong, where, and what was expected")


class PhotoProblem(BaseModel):
    """What went wrong with one of several photos."""

    error: Problem


class PhotoAnswers(BaseModel):
    """An answer or an error for each of several photos, in their order."""

    results: list[PhotoAnswer | PhotoProblem]


@dataclass(frozen=True)
class Found:
    """The faces of one photo.

    Attributes:
        model: The name of the model that found them.
        faces: In pixels of the upright photo.
        given: Whether the boxes came with the request, so that they have no scores.
    """

    model: str
    faces: Faces
    given: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the values of ``Faces.to_dict`` with the model's name."""
        answer = {"model": self.model, **self.faces.to_dict()}
        if self.given:
            unknown = ("score", "sharpness")
            answer["faces"] = [
                {name: value for name, value in face.items() if name not in unknown}
                for face in answer["faces"]
            ]
        return answer

    def drawn(self, photo: bytes) -> Response:
        """Return the photo with the faces drawn into it, upright, as a JPEG.

        Raises PhotoError if its pixels are damaged.
        """
        checked = check_photo(photo)
        height, width, _ = checked.size_hwc
        scale = next(
            (k for k in _SCALES if height * width <= k * k * MAX_DRAWN_PIXELS), _SCALES[-1]
        )
        picture = upright_picture(checked, scale if is_jpeg(checked) else 1, "rgb")
        if scale > 1 and not is_jpeg(checked):
            picture = picture.reduce(scale)
        faces = replace(
            self.faces,
            boxes_xyxy=self.faces.boxes_xyxy / scale,
            points_xy=self.faces.points_xy / scale,
        )
        draw_into(picture, faces, scores=not self.given)
        buffer = BytesIO()
        picture.save(buffer, "JPEG", quality=_QUALITY)
        return Response(buffer.getvalue(), media_type="image/jpeg")


def json_response(value: Any) -> Response:
    """Return values as JSON."""
    return Response(json.dumps(value, separators=(",", ":")), media_type="application/json")
