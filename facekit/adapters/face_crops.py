"""``fpenet_preprocess``: an upright gray picture and a box in, FPENet's input out."""

import numpy as np

from facekit.adapters.requests import Array, EachRequest, Request, naming_photo, read
from facekit.errors import InputError
from facekit.landmarks.crops import crop_squares, cut_crops


class TritonPythonModel(EachRequest):
    """See ``facekit.landmarks.crops``."""

    drops = "gray"

    def answer(self, request: Request) -> dict[str, Array]:
        """Return the outputs of one request."""
        gray, boxes = read(request, "gray"), read(request, "true_boxes")
        sizes = read(request, "true_image_size")
        crops, squares = [], []
        for i, (picture, size, box) in enumerate(zip(gray, sizes, boxes, strict=True)):
            height, width = int(size[0]), int(size[1])
            if not (0 < height <= picture.shape[0] and 0 < width <= picture.shape[1]):
                raise InputError(
                    f"`true_image_size` is {height} x {width}, but `gray` is "
                    f"{picture.shape[0]} x {picture.shape[1]}"
                )
            with naming_photo(i, len(boxes)):
                square = crop_squares(box, size_wh=(width, height))
            crops.append(cut_crops(picture[:height, :width], square))
            squares.append(square)
        return {"input_face_images": np.concatenate(crops), "crop_xys": np.concatenate(squares)}
