"""The blocking client."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from facekit.client.calls import (
    Call,
    check_boxes,
    check_concurrency,
    check_model,
    detect_call,
    landmarks_call,
    no_landmarks,
)
from facekit.client.connection import Connected
from facekit.client.photos import PhotoLike, read_photo
from facekit.closing import Closing
from facekit.errors import FacekitError, ServerError
from facekit.faces import Faces
from facekit.parallel import in_order

Result = TypeVar("Result")


class Client(Connected, Closing):
    """A connection to a server; many threads may share one.

    Nothing is sent before the first call, so a client can be created before its server runs.

    Args:
        url: ``host:port`` of the server's gRPC port.
        timeout_s: Seconds that one call may take, connecting included.
        ssl: Whether to encrypt. The three files are PEM and need ``ssl``.
        root_certificates: Authorities to trust; by default the system's.
        private_key: This client's key, for servers that require one.
        certificate_chain: This client's certificate, for servers that require one.
        server_name: Name in the server's certificate, where it is not the host of ``url``.
        tls_certificate: PEM file of the server's own certificate: the connection is encrypted, and
            only this certificate is trusted, whatever its name. Instead of ``ssl`` and its files.
        token: What a server asks for that lets in only callers it knows; by default that of the
            environment's ``FACEKIT_TOKEN``.

    Raises:
        ConfigError: An option is wrong, or a certificate file cannot be read.
    """

    def detect(
        self,
        photo: PhotoLike,
        *,
        model: str = "faces",
        tiles: str | int | None = None,
        rotations: str | int | None = None,
        threshold: float | None = None,
    ) -> Faces:
        """Find all faces of one photo; no face gives an empty result.

        Args:
            photo: Encoded bytes, a path, or a uint8 array: (n,) encoded, (H, W) gray, or (H, W, 3)
                RGB.
            model: ``faces`` for boxes and landmarks, ``facemask_ensemble`` for boxes and whether a
                mask is worn (``Faces.labels``), ``facenet_ensemble`` for boxes only.
            tiles: For faces too small in the whole photo: ``off``, ``auto``, or how many tiles of
                it may be looked at, 2 to 64. None leaves it to the server, which takes ``off``.
            rotations: For faces that do not stand upright: ``off``, ``auto`` (only where little is
                found upright), or angles such as ``90`` or ``90,270`` by which they are turned
                clockwise. None as ``off``. Boxes and points are those of the photo as it stands.
            threshold: Least score, 0.05 to 1, such as one below that of the server's configuration;
                with tiles and turned photos too. None for the server's own.

        Raises:
            ConfigError: ``model`` is none of these, an option is wrong, or ``tiles`` or
                ``rotations`` is given with ``facemask_ensemble``.
            PhotoError: The photo can't be read or used.
            ServerError: The server could not answer; see ``facekit.errors`` for its kinds.
        """
        parameters = check_model(model, tiles, rotations, threshold)
        return self._run(detect_call(read_photo(photo), model, parameters))

    def landmarks(
        self, photo: PhotoLike, boxes_xyxy: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Find the landmarks of faces in given boxes; the photo is decoded once.

        Args:
            photo: As for :meth:`detect`.
            boxes_xyxy: (N, 4), left, top, right, bottom in pixels of the upright photo. Without a
                box nothing is sent, and the result has the shapes (0, 68, 2) and (0, 68).

        Returns:
            Points float32 (N, K, 2) in pixels of the upright photo, and their scores (N, K).

        Raises:
            BoxError: A box is not finite, inverted or outside the photo, or there are too many.
            PhotoError: The photo can't be read or used.
            ServerError: The server could not answer; see ``facekit.errors`` for its kinds.
        """
        boxes = check_boxes(boxes_xyxy)
        if len(boxes) == 0:
            return no_landmarks()
        return self._run(landmarks_call(read_photo(photo), boxes))

    def detect_many(
        self,
        photos: Iterable[PhotoLike],
        concurrency: int = 4,
        *,
        model: str = "faces",
        tiles: str | int | None = None,
        rotations: str | int | None = None,
        threshold: float | None = None,
    ) -> Iterator[Faces | FacekitError]:
        """Find the faces of many photos concurrently, and yield the results in order.

        Photos are taken as needed, at most ``2 * concurrency`` ahead of the results, so an endless
        collection does not fill the memory.

        Args:
            photos: Each as for :meth:`detect`.
            concurrency: Requests in flight at one time.
            model: As for :meth:`detect`.
            tiles: As for :meth:`detect`.
            rotations: As for :meth:`detect`.
            threshold: As for :meth:`detect`.

        Yields:
            The photo's faces, or the error that :meth:`detect` would have raised for it.

        Raises:
            ConfigError: ``concurrency`` is less than 1, or see :meth:`detect`.
        """
        check_model(model, tiles, rotations, threshold)
        check_concurrency(concurrency)
        how = {
            "model": model,
            "tiles": tiles,
            "rotations": rotations,
            "threshold": threshold,
        }
        return self._detect_many(photos, concurrency, how)

    def server_ready(self) -> bool:
        """Return Triton's own ready flag, or False when the server can't be reached.

        The flag stays set when a model's process has died; ``facekit status`` checks by inference.
        """
        if self._closed:
            return False
        try:
            return bool(self._open().is_server_ready(client_timeout=self._connection.timeout_s))
        except (InferenceServerException, ServerError):
            return False

    def check_ready(self) -> None:
        """Check that the server is reachable and reports that it is ready.

        Raises:
            ServerUnavailableError: It can't be reached, or is not ready.
            ServerError: It has another certificate than ``tls_certificate``.
        """
        if not self._closed:
            self._open()
        if not self.server_ready():
            raise self._connection.not_ready()

    def close(self) -> None:
        """Close the connection; calls in flight in other threads end with a ServerError."""
        self._closed = True
        if self._triton is not None:
            self._triton.close()

    def _detect_many(
        self, photos: Iterable[PhotoLike], concurrency: int, how: dict[str, Any]
    ) -> Iterator[Faces | FacekitError]:
        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="facekit")
        try:
            detect = functools.partial(self._detect_or_error, how=how)
            yield from in_order(pool, detect, photos, ahead=2 * concurrency)
        finally:
            # The caller may stop early: what has not been sent is dropped.
            pool.shutdown(wait=False, cancel_futures=True)

    def _detect_or_error(self, photo: PhotoLike, how: dict[str, Any]) -> Faces | FacekitError:
        try:
            return self.detect(photo, **how)
        except FacekitError as error:
            return error

    def _open(self) -> InferenceServerClient:
        with self._opening:
            if self._triton is None:
                self._triton = self._connection.opened(InferenceServerClient)
            return self._triton

    def _run(self, call: Call[Result]) -> Result:
        if self._closed:
            raise ServerError("this client has been closed")
        timeout_s = self._connection.timeout_s
        try:
            answer = self._open().infer(
                call.model,
                call.inputs,
                outputs=call.outputs,
                client_timeout=timeout_s,
                parameters=call.parameters,
            )
        except InferenceServerException as error:
            raise self._translated(error, call.model) from error
        except ValueError as error:
            # gRPC's own error when another thread closes the client meanwhile.
            raise ServerError(f"this client has been closed: {error}") from error
        return call.read(answer)
