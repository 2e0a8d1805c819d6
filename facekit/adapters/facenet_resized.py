"""``facenet_resized``: the network's input in, boxes in photo pixels out."""

from facekit.adapters.calls import answer_all, detect_in_frames
from facekit.adapters.detection_postprocess import check_sizes
from facekit.adapters.requests import Array, Request, Response, read, read_tensor
from facekit.contract import MODELS

_OUTPUTS = tuple(tensor.name for tensor in MODELS["facenet_resized"].outputs)


class TritonPythonModel:
    """Detection for callers that preprocess themselves."""

    async def execute(self, requests: list[Request]) -> list[Response]:
        """Answer the requests, each by itself."""
        return await answer_all(requests, self._answer)

    async def _answer(self, request: Request) -> dict[str, Array]:
        # Checked here too: a refusal by another model loses its status on the way through Triton.
        check_sizes(read(request, "true_image_size"))
        outputs = await detect_in_frames(
            read_tensor(request, "input_1"), read_tensor(request, "true_image_size"), _OUTPUTS
        )
        return {name: output.as_numpy() for name, output in zip(_OUTPUTS, outputs, strict=True)}
