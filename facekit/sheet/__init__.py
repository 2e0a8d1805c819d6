"""Pictures of a dataset: a contact sheet of photos worth seeing, or one photo at full size.

::

    from facekit.sheet import show_dataset

    show_dataset("instances.json", how="lowest-score").save("sheet.png")
"""

from facekit.sheet.pick import MIXTURE, PICKS, Pick, pick
from facekit.sheet.sheet import (
    TILE_PX,
    contact_sheet,
    read_failures,
    show_dataset,
    show_photo,
)

__all__ = [
    "MIXTURE",
    "PICKS",
    "TILE_PX",
    "Pick",
    "contact_sheet",
    "pick",
    "read_failures",
    "show_dataset",
    "show_photo",
]
