"""Faces of photos made unrecognizable.

::

    from facekit.annotate import Options
    from facekit.privacy import Cover, blur_photos

    options = Options(model="facenet_ensemble", threshold=0.05, min_score=0.15)
    summary = blur_photos([Path("photos")], Path("blurred"), Cover(), options)
"""

from facekit.privacy.cover import cover_faces
from facekit.privacy.options import Cover
from facekit.privacy.run import BlurSummary, blur_dataset, blur_photos

__all__ = ["BlurSummary", "Cover", "blur_dataset", "blur_photos", "cover_faces"]
