"""Which EXIF of a photo tells nothing of who and where: a list of what is kept, not of what goes.

Left out are, among all else, position, thumbnail, maker notes, serial numbers, names of owners and
of people, titles and comments, and the orientation, which has been applied. Source of the tags:
CIPA DC-008 (Exif 3.0).
"""

from __future__ import annotations

from typing import Any

from PIL import Image

_EXIF_IFD = 0x8769
_IN_FIRST = {
    0x010F: "Make", 0x0110: "Model", 0x011A: "XResolution", 0x011B: "YResolution",
    0x0128: "ResolutionUnit", 0x0132: "DateTime", 0x013B: "Artist", 0x8298: "Copyright",
}  # fmt: skip
_IN_EXIF = {
    0x829A: "ExposureTime", 0x829D: "FNumber", 0x8822: "ExposureProgram",
    0x8827: "PhotographicSensitivity", 0x9000: "ExifVersion", 0x9003: "DateTimeOriginal",
    0x9004: "DateTimeDigitized", 0x9010: "OffsetTime", 0x9011: "OffsetTimeOriginal",
    0x9012: "OffsetTimeDigitized", 0x9201: "ShutterSpeedValue", 0x9202: "ApertureValue",
    0x9203: "BrightnessValue", 0x9204: "ExposureBiasValue", 0x9205: "MaxApertureValue",
    0x9207: "MeteringMode", 0x9208: "LightSource", 0x9209: "Flash", 0x920A: "FocalLength",
    0x9290: "SubSecTime", 0x9291: "SubSecTimeOriginal", 0x9292: "SubSecTimeDigitized",
    0xA001: "ColorSpace", 0xA217: "SensingMethod", 0xA402: "ExposureMode", 0xA403: "WhiteBalance",
    0xA404: "DigitalZoomRatio", 0xA405: "FocalLengthIn35mmFilm", 0xA406: "SceneCaptureType",
    0xA408: "Contrast", 0xA409: "Saturation", 0xA40A: "Sharpness", 0xA432: "LensSpecification",
    0xA433: "LensMake", 0xA434: "LensModel",
}  # fmt: skip


def harmless_exif(exif: Image.Exif, *, of_tiff: bool = False) -> bytes:
    """Return the part of EXIF that tells of camera, exposure, time and rights; b"" for none.

    For a TIFF it is that of the first directory, as Pillow writes no other into a compressed one.
    """
    kept = Image.Exif()
    try:
        first = {tag: exif[tag] for tag in _IN_FIRST if tag in exif}
        below = exif.get_ifd(_EXIF_IFD)
        own: dict[int, Any] = {tag: below[tag] for tag in _IN_EXIF if tag in below}
        kept.update(first)
        if own and not of_tiff:
            kept[_EXIF_IFD] = own
        return kept.tobytes() if len(kept) else b""
    # Values of a broken file can't be read or written, and Pillow raises errors of many kinds.
    except Exception:
        return b""
