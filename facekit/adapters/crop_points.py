"""``fpenet_postprocess``: crop pixels back to photo pixels; FPENet's own outputs are handed on."""

from __future__ import annotations

from facekit.adapters.requests import Array, Request, Response, answer_each, read
from facekit.landmarks.crops import to_photo

_HANDED_ON = ("conv_keypoints_m80", "softargmax", "softargmax:1")


class TritonPythonModel:
    """See ``facekit.landmarks.crops.to_photo``."""

    def execute(self, requests: list[Request]) -> list[Response]:
        """Answer the requests, each by itself."""
        return answer_each(requests, self._answer)

    def _answer(self, request: Request) -> dict[str, Array]:
        outputs = {name: read(request, name) for name in _HANDED_ON}
        outputs["keypoints"] = to_photo(outputs["softargmax"], read(request, "crop_xys"))
        return outputs
