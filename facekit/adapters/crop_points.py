"""``fpenet_postprocess``: map crop pixels to photo pixels, and pass FPENet's outputs on."""

from facekit.adapters.requests import Array, EachRequest, Request, read
from facekit.landmarks.crops import to_photo

_PASSED_ON = ("conv_keypoints_m80", "softargmax", "softargmax:1")


class TritonPythonModel(EachRequest):
    """See ``facekit.landmarks.crops.to_photo``."""

    def answer(self, request: Request) -> dict[str, Array]:
        """Return the outputs of one request."""
        outputs = {name: read(request, name) for name in _PASSED_ON}
        outputs["keypoints"] = to_photo(outputs["softargmax"], read(request, "crop_xys"))
        return outputs
