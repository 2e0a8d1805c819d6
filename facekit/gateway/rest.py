"""The routes ``/v1/...`` that take photos: faces, masks and landmarks."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from facekit.client.calls import check_boxes, check_model
from facekit.errors import BoxError, FacekitError
from facekit.faces import Faces
from facekit.gateway.answers import Found, PhotoAnswer, PhotoAnswers, json_response
from facekit.gateway.middleware import unless_gone
from facekit.gateway.photos import Photos, read_photos
from facekit.gateway.problems import ProblemError, problem_of
from facekit.gateway.upstream import Upstream
from facekit.limits import MAX_PHOTO_SIDE
from facekit.photos.header import read_photo_header
from facekit.selection import FaceLimits

Find = Callable[[bytes], Awaitable[Found]]
"""Finds the faces of one photo."""

# Photos of one request that are sent at a time.
_AT_ONCE = 8
# So many at a time: the largest PNG takes 0.9 GB meanwhile, and the largest JPEG 0.6.
_drawing = ThreadPoolExecutor(2, "facekit-draw")

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": PhotoAnswer | PhotoAnswers, "description": "What was found"}
}

router = APIRouter(prefix="/v1", tags=["photos"])


class _Parameters(BaseModel):
    """Of all routes; another parameter is refused by its name."""

    model_config = ConfigDict(extra="forbid")

    draw: int = Field(
        default=0, ge=0, le=1, description="1: answer with the photo as a JPEG, faces drawn into it"
    )


class _Limits(_Parameters):
    min_score: float = Field(
        default=0, ge=0, le=1, allow_inf_nan=False, description="leave out faces of a lower score"
    )
    min_size: float = Field(
        default=0,
        ge=0,
        le=MAX_PHOTO_SIDE,
        allow_inf_nan=False,
        description="leave out faces whose box has a side below this, in pixels",
    )

    def keep(self, faces: Faces) -> Faces:
        return FaceLimits(self.min_score, self.min_size).keep(faces)


class FacesParameters(_Limits):
    """Of ``/v1/faces``."""

    model: Literal["faces", "facenet_ensemble"] = Field(
        default="faces", description="faces: boxes and landmarks; facenet_ensemble: boxes alone"
    )
    landmarks: int = Field(default=1, ge=0, le=1, description="0: boxes alone")
    tiles: str = Field(
        default="off",
        description="look for small faces in tiles of the photo: off, auto, or at most so many "
        "tiles, 2 to 64",
        json_schema_extra={"pattern": "^(off|auto|[2-9]|[1-5][0-9]|6[0-4])$"},
    )
    rotations: str = Field(
        default="off",
        description="look for faces that do not stand upright: off, auto, or those turned "
        "clockwise by 90, 180 or 270, with commas between them",
        json_schema_extra={"pattern": "^(off|auto|(90|180|270)(,(90|180|270))*)$"},
    )


class MasksParameters(_Limits):
    """Of ``/v1/masks``."""

    model: Literal["facemask_ensemble"] = "facemask_ensemble"


class LandmarksParameters(_Parameters):
    """Of ``/v1/landmarks``."""

    # The factory keeps OpenAPI from stating a default: an empty text is wrong.
    boxes: str = Field(
        default_factory=str,
        description="boxes of the faces, left,top,right,bottom in pixels of the upright photo, "
        "with semicolons between them; without it, those that are found",
        json_schema_extra={"format": "boxes"},
    )


@router.post("/faces", responses=_ANSWERS)
async def faces(request: Request, given: Annotated[FacesParameters, Query()]) -> Response:
    """Find the faces of photos, and their landmarks."""
    model = given.model if given.landmarks else "facenet_ensemble"
    # Where that model has parameters, and "off" is one, the client asks the model faces for boxes
    # alone in its place.
    tiles = None if given.landmarks and given.tiles == "off" else given.tiles
    rotations = None if given.rotations == "off" else given.rotations
    check_model(model, tiles, rotations)

    async def find(photo: bytes) -> Found:
        found = await _upstream(request).run(
            lambda server: server.client.detect(
                photo, model=model, tiles=tiles, rotations=rotations
            )
        )
        return Found(given.model, given.keep(found))

    return await _respond(request, find, given.draw)


@router.post("/masks", responses=_ANSWERS)
async def masks(request: Request, given: Annotated[MasksParameters, Query()]) -> Response:
    """Find the faces of photos, and which of them wear a mask."""

    async def find(photo: bytes) -> Found:
        found = await _upstream(request).run(
            lambda server: server.client.detect(photo, model=given.model)
        )
        return Found(given.model, given.keep(found))

    return await _respond(request, find, given.draw)


@router.post("/landmarks", responses=_ANSWERS)
async def landmarks(request: Request, given: Annotated[LandmarksParameters, Query()]) -> Response:
    """Find the landmarks of faces whose boxes are known, or of those that are found."""
    if "boxes" not in given.model_fields_set:
        return await faces(request, FacesParameters(draw=given.draw))
    boxes = _boxes(given.boxes)

    async def find(photo: bytes) -> Found:
        points, scores = await _upstream(request).run(
            lambda server: server.client.landmarks(photo, boxes)
        )
        # Of a photo that the server has read.
        size_wh = (await asyncio.to_thread(read_photo_header, BytesIO(photo))).upright_wh
        found = Faces(boxes, np.ones(len(boxes), np.float32), points, scores, size_wh)
        return Found("landmarks", found, given=True)

    return await _respond(request, find, given.draw, one_photo="boxes are of one photo")


def _boxes(text: str) -> npt.NDArray[np.float32]:
    try:
        rows = [[float(side) for side in box.split(",")] for box in text.split(";")]
    except ValueError:
        rows = []
    if not rows or any(len(row) != 4 for row in rows):
        raise BoxError(f"boxes: expected left,top,right,bottom;... in pixels, got {text[:40]!r}")
    return check_boxes(rows)


def _upstream(request: Request) -> Upstream:
    upstream: Upstream = request.app.state.upstream
    return upstream


async def _respond(request: Request, find: Find, draw: int, *, one_photo: str = "") -> Response:
    """Read the photos of a request, find the faces of each, and answer.

    ``one_photo`` is why several are refused; "" where they are only if they are drawn.
    """
    state = request.app.state
    one_photo = one_photo or ("draw: one photo at a time" if draw else "")
    async with state.bodies.read(request) as body:
        content_type = request.headers.get("content-type", "")
        photos = await read_photos(body, content_type, state.settings.limits.json_bytes)
        if one_photo and len(photos.each) > 1:
            raise ProblemError(422, f"{one_photo}, got {len(photos.each)}", reason="input")
        return await unless_gone(request, _answer(request, find, photos, bool(draw)))


async def _answer(request: Request, find: Find, photos: Photos, draw: bool) -> Response:
    if photos.several and not draw:
        places = asyncio.Semaphore(_AT_ONCE)

        async def answer_or_error(photo: bytes | ProblemError) -> dict[str, Any]:
            async with places:
                try:
                    if isinstance(photo, bytes):
                        return (await find(photo)).to_dict()
                    problem = photo
                except FacekitError as error:
                    problem = problem_of(error)
                except ProblemError as error:
                    problem = error
            request.app.state.counts.refuse(problem.reason)
            return {"error": problem.to_dict()}

        results = await asyncio.gather(*map(answer_or_error, photos.each))
        return json_response({"results": results})
    (photo,) = photos.each
    if isinstance(photo, ProblemError):
        raise photo
    found = await find(photo)
    if draw:
        return await asyncio.get_running_loop().run_in_executor(_drawing, found.drawn, photo)
    return json_response(found.to_dict())
