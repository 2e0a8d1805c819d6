"""The blocking client."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from facekit.client.boxes import check_boxes
from facekit.client.calls import Call, check_model, detect_call, landmarks_call, no_landmarks
from facekit.client.connection import Connected
from facekit.client.failures import translate
from facekit.client.photos import PhotoLike, read_photo
from facekit.closing import Closing
from facekit.errors import ConfigError, FacekitError, ServerError
from facekit.faces import Faces
from facekit.parallel import in_order

Result = TypeVar("Result")


class Client(Connected, Closing):
    """A connection to a server; one may be used from many threads at once.

    Nothing is sent before the first call, so a client can be made before its server runs.

    Args:
        url: ``host:port`` of the server's gRPC port.
        timeout_s: Seconds that one photo's call may take, connecting included.
        ssl: Whether to encrypt. The three files are PEM and need ``ssl``.
        root_certificates: Authorities to trust; the system's own when left out.
        private_key: This client's key, for servers that ask for one.
        certificate_chain: This client's certificate, for servers that ask for one.
        server_name: The name that the server's certificate carries, where it is not ``url``'s.
        tls_certificate: PEM file of the server's own certificate: the connection is encrypted, and
            this certificate alone is trusted, whatever name it carries. In place of ``ssl`` and
            what needs it.

    Raises:
        ConfigError: An option is wrong, or a certificate file cannot be read.
    """

    def detect(self, photo: PhotoLike, *, model: str = "faces") -> Faces:
        """Find all faces of one photo; no face gives an empty result.

        Args:
            photo: Encoded bytes, a path, or a uint8 array: (n,) encoded, (H, W) gray, or (H, W, 3)
                RGB.
            model: ``faces`` finds landmarks too, ``facemask_ensemble`` tells who wears a mask
                (``Faces.labels``), and ``facenet_ensemble`` gives boxes alone.

        Raises:
            ConfigError: ``model`` is none of these.
            PhotoError: The photo can't be read or used.
            ServerError: The server could not answer; see ``facekit.errors`` for its kinds.
        """
        check_model(model)
        return self._run(detect_call(read_photo(photo), model))

    def landmarks(
        self, photo: PhotoLike, boxes_xyxy: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Find the landmarks of faces whose boxes are known; the photo is decoded once.

        Args:
            photo: As for :meth:`detect`.
            boxes_xyxy: (N, 4), left, top, right, bottom in pixels of the upright photo. With no
                box nothing is sent, and the result has no faces of 68 points.

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
        self, photos: Iterable[PhotoLike], concurrency: int = 4, *, model: str = "faces"
    ) -> Iterator[Faces | FacekitError]:
        """Find the faces of many photos, several at a time, and yield the results in order.

        Photos are taken from ``photos`` as they are needed, at most ``2 * concurrency`` ahead of
        the results, so an endless or a huge collection does not fill the memory.

        Args:
            photos: As for :meth:`detect`, one each.
            concurrency: Requests in flight at one time.
            model: As for :meth:`detect`.

        Yields:
            The photo's faces, or the error that :meth:`detect` would have raised for it. Nothing
            is raised for a single photo.

        Raises:
            ConfigError: ``concurrency`` is less than 1, or ``model`` finds no faces.
        """
        check_model(model)
        if concurrency < 1:
            raise ConfigError(f"concurrency: expected at least 1, got {concurrency}")
        return self._detect_many(photos, concurrency, model)

    def server_ready(self) -> bool:
        """Return Triton's own ready flag, and False when it can't be reached.

        The flag stays up when a model's process has died; ``facekit status`` tells by a real
        inference.
        """
        if self._closed:
            return False
        try:
            return bool(self._open().is_server_ready(client_timeout=self._connection.timeout_s))
        except (InferenceServerException, ServerError):
            return False

    def check_ready(self) -> None:
        """Check that the server is there and says that it is ready.

        Raises:
            ServerUnavailableError: It can't be reached, or is not ready.
            ServerError: It has another certificate than ``tls_certificate``.
        """
        if not self._closed:
            self._open()
        if not self.server_ready():
            raise self._connection.not_ready()

    def close(self) -> None:
        """Close the connection; calls under way in other threads end with a ServerError."""
        self._closed = True
        if self._triton is not None:
            self._triton.close()

    def _detect_many(
        self, photos: Iterable[PhotoLike], concurrency: int, model: str
    ) -> Iterator[Faces | FacekitError]:
        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="facekit")
        try:
            ask = functools.partial(self._detect_or_error, model=model)
            yield from in_order(pool, ask, photos, ahead=2 * concurrency)
        finally:
            # The caller may stop in the middle: what has not been sent is dropped.
            pool.shutdown(wait=False, cancel_futures=True)

    def _detect_or_error(self, photo: PhotoLike, model: str) -> Faces | FacekitError:
        try:
            return self.detect(photo, model=model)
        except FacekitError as error:
            return error

    def _open(self) -> InferenceServerClient:
        with self._opening:
            if self._triton is None:
                self._triton = InferenceServerClient(**self._connection.arguments())
            return self._triton

    def _run(self, call: Call[Result]) -> Result:
        if self._closed:
            raise ServerError("this client has been closed")
        connection = self._connection
        try:
            answer = self._open().infer(
                call.model, call.inputs, outputs=call.outputs, client_timeout=connection.timeout_s
            )
        except InferenceServerException as error:
            raise translate(
                error, model=call.model, url=connection.url, timeout_s=connection.timeout_s
            ) from error
        except ValueError as error:
            # gRPC's own error when another thread closes the client between the two lines above.
            raise ServerError(f"this client has been closed: {error}") from error
        return call.read(answer)
