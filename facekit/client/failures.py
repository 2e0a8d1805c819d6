"""Translate errors of gRPC and Triton into the kit's own."""

from __future__ import annotations

import re

from tritonclient.utils import InferenceServerException

from facekit.errors import (
    BoxError,
    ConfigError,
    DeadlineError,
    FacekitError,
    InputError,
    ModelMissingError,
    PhotoError,
    ResponseError,
    ServerError,
    ServerUnavailableError,
)

# Phrases of Triton and of gRPC, in lower case. Triton reports a missing model or a dead backend
# under several status codes, so the phrases are checked before the code.
_MISSING = ("unknown model", "has no available versions")
_MISSING_NAME = re.compile(r"unknown model:? '([^']+)'|'([^']+)' has no available versions")
_DEAD = (
    "is not healthy",
    "stub process",
    "connection reset",
    "shutting down",
    "not ready",
    "requests a second",
)
_CONTRACT = (
    "inference input",
    "inference output",
    "inputs but got",
    "unexpected shape",
    "batch size does not match",
)
_NOT_GRPC = ("http1.x", "http/2", "http2 error", "trying to connect an http", "settings frame")
_HINT = " (if this persists: is this the HTTP port instead of gRPC's, or does the server need ssl?)"
# The kit's own models name the photo of the request, then what is wrong with it or its boxes.
_OF_ONE_PHOTO = re.compile(r"(?:in ensemble '[^']*', )?photo (\d+) (?:to \d+ )?of (\d+)[^:]*: ")
_OF_ITS_BOXES = re.compile(r"box \d+ of \d+\b|(?:the )?[\d,]+ boxes\b")
_NAMES_BOXES = re.compile(r"\bbox \d+ of \d+\b|\d boxes\b")
# A tensor or a model may be called `photo` too; those names are in quotes.
_NAMES_PHOTOS = re.compile(r"(?<!['`\"])\bphotos?\b(?!['`\"](?!s\b))")


def translate(
    error: InferenceServerException, *, model: str, url: str, timeout_s: float
) -> FacekitError:
    """Return the kit's error for one of tritonclient's; the caller raises it ``from`` that one."""
    code = str(error.status() or "").removeprefix("StatusCode.")
    text = (error.message() or "").strip() or "no reason given"
    lower = text.lower()
    if code == "DEADLINE_EXCEEDED":
        return DeadlineError(f"no answer from {url} within {timeout_s:g} s")
    if any(words in lower for words in _MISSING):
        return ModelMissingError(f"{url} does not serve the model {_missing(text, model)}: {text}")
    if code in ("UNAVAILABLE", "CANCELLED", "ABORTED") or any(words in lower for words in _DEAD):
        hint = _HINT if _is_other_protocol(lower) else ""
        return ServerUnavailableError(f"{url} could not answer, try again: {text}{hint}")
    if code == "INVALID_ARGUMENT":
        return _refused(text, lower, model)
    if code == "UNAUTHENTICATED":
        return ConfigError(f"{url} lets in only callers with a token (FACEKIT_TOKEN): {text}")
    if code == "UNIMPLEMENTED":
        return ResponseError(f"{url} speaks gRPC but is not a Triton server: {text}")
    return ServerError(f"{model}: {text}" + (f" ({code})" if code else ""))


def _is_other_protocol(lower: str) -> bool:
    """Return whether something listens there that ends a gRPC connection during its handshake."""
    cut = "failed to connect" in lower and ("socket closed" in lower or "handshake" in lower)
    return cut or any(words in lower for words in _NOT_GRPC)


def _missing(text: str, model: str) -> str:
    """Name the missing model: the one called, or another that it needs."""
    match = _MISSING_NAME.search(text)
    name = (match[1] or match[2]) if match else model
    return repr(name) if name == model or not model else f"{name!r}, which {model!r} needs"


def _refused(text: str, lower: str, model: str) -> FacekitError:
    if match := _OF_ONE_PHOTO.match(text):
        what = text[match.end() :]
        kind: type[InputError] = BoxError if _OF_ITS_BOXES.match(what) else PhotoError
        if what.startswith("`"):  # About a tensor: no change of the photo helps.
            kind = InputError
        # A request of this client has one photo, which needs no number.
        return kind(what if match[1] == match[2] == "1" else text)
    if any(words in lower for words in _CONTRACT):
        return ResponseError(f"{model}: the server's tensors differ from this client's: {text}")
    if _NAMES_BOXES.search(lower):
        return BoxError(text)
    return PhotoError(text) if _NAMES_PHOTOS.search(lower) else InputError(f"{model}: {text}")
