"""What FastAPI can't know of the routes, for the OpenAPI 3.1 at ``/openapi.json``.

That is the bodies, which the routes read themselves, the errors, and whether a token is asked for.
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from facekit.gateway.middleware import OPEN_PATHS
from facekit.gateway.photos import FIELD, MAX_PHOTOS
from facekit.gateway.problems import MEDIA_TYPE, ProblemError

Json = dict[str, Any]

_ERRORS = {
    400: "The request can't be read: a form or JSON is broken, or contains no photo",
    403: "A page of a site called that is not let in",
    404: "The servers lack the model",
    408: "The body came too slowly",
    413: "The body or a photo is too long, or comes in too small chunks",
    415: "Not a picture of an accepted format, or an unknown encoding",
    422: "Read, and wrong: a photo is truncated or too large, or a value is not accepted",
    429: "This client calls too often",
    431: "The request line and headers are too long",
    500: "An error of the gateway itself",
    502: "The server's answer breaks the tensor contract",
    503: "No server is ready, or too many requests wait",
    504: "The server took too long",
}
_WITH_RETRY_AFTER = (429, 503)
_OF_STATUS = (403, 429, 431, 500)

# FastAPI's own error, in whose place ours is answered.
_NOT_OURS = ("HTTPValidationError", "ValidationError")

_BINARY = {"type": "string", "format": "binary"}
_BASE64 = {"type": "string", "format": "byte", "description": "base64, or a data: URL of it"}
_SEVERAL = {"type": "array", "items": _BASE64, "minItems": 1, "maxItems": MAX_PHOTOS}
# A PNG of one pixel.
_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
_BODY: Json = {
    "required": True,
    "description": "The photo itself (JPEG, PNG, BMP, WebP or TIFF; its bytes tell which), a form "
    f"with up to {MAX_PHOTOS} parts named {FIELD}, or JSON with base64. One photo gives one "
    "answer; several parts, or a list, give a list of answers.",
    "content": {
        "image/*": {"schema": _BINARY},
        "application/octet-stream": {"schema": _BINARY},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    FIELD: {
                        "type": "array",
                        "items": _BINARY,
                        "minItems": 1,
                        "maxItems": MAX_PHOTOS,
                    }
                },
                "required": [FIELD],
                "additionalProperties": False,
            }
        },
        "application/json": {
            "schema": {
                "oneOf": [
                    {
                        "type": "object",
                        "properties": {FIELD: {"oneOf": [_BASE64, _SEVERAL]}},
                        "required": [FIELD],
                        "additionalProperties": False,
                    },
                    _SEVERAL,
                ]
            },
            "examples": {
                "one": {"value": {FIELD: _PIXEL}},
                "several": {"value": [_PIXEL, _PIXEL]},
            },
        },
    },
}
_EXAMPLE: Json = {
    "model": "faces",
    "size_wh": [640, 480],
    "faces": [
        {
            "box_xyxy": [201.5, 96.25, 333.75, 270.5],
            "score": 0.9921,
            "rotation_deg": -3.162,
            "center_xy": [262.125, 160.5],
            "pose_deg": [4.1, -7.35, -3.2],
            "sharpness": 0.4312,
            "points_xy": [[206.125, 163.5], [208.0, 181.25]],
            "point_scores": [0.6172, 0.5938],
        }
    ],
}


def describe(app: FastAPI, *, tokens: bool) -> None:
    """Complete what the application tells of itself; with ``tokens`` it asks for one."""
    generate = app.openapi
    completed: Json = {}

    def openapi() -> Json:
        if not completed:
            completed.update(_complete(generate(), tokens))
        return completed

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: Json, tokens: bool) -> Json:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tokens and path not in OPEN_PATHS:
                operation["security"] = [{"token": []}]
                operation["responses"]["401"] = _problem("A token is missing, or not known")
            if path.startswith("/v1/"):
                takes_photos = method == "post"
                for code in _ERRORS if takes_photos else _OF_STATUS:
                    operation["responses"][str(code)] = _problem(_ERRORS[code], code)
                if takes_photos:
                    operation["requestBody"] = _BODY
                    answers = operation["responses"]["200"]["content"]
                    answers["application/json"]["example"] = _EXAMPLE
                    answers["image/jpeg"] = {"schema": _BINARY}
    for name in _NOT_OURS:
        document["components"]["schemas"].pop(name, None)
    if tokens:
        scheme = {"type": "http", "scheme": "bearer"}
        document["components"]["securitySchemes"] = {"token": scheme}
    return document


def _problem(description: str, status: int = HTTPStatus.UNAUTHORIZED) -> Json:
    content = {
        "schema": {"$ref": "#/components/schemas/Problem"},
        "example": ProblemError(status, description).to_dict(),
    }
    answer: Json = {"description": description, "content": {MEDIA_TYPE: content}}
    if status in _WITH_RETRY_AFTER:
        seconds = {"type": "integer", "minimum": 1}
        answer["headers"] = {"Retry-After": {"description": "in seconds", "schema": seconds}}
    return answer
