"""Photos that are read and written in their own format, depth and quality, without metadata."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.JpegImagePlugin import get_sampling

from facekit.errors import PhotoError
from facekit.photos.check import check_photo, decode_checked
from facekit.photos.header import read_photo_header
from facekit.privacy.pictures import read_picture, write_picture
from tests.photo_files import encode, exif, good_photos, picture, stored

PHOTOS = good_photos()
SERIAL = "SN-1234567"


def full_exif(orientation: int = 1) -> Image.Exif:
    tags = exif(orientation)
    tags[0x010F], tags[0x0110], tags[0x010E] = "Maker", "Model 5", "Anna at home"
    tags[0x0132], tags[0x8298] = "2024:05:06 07:08:09", "(c) me"
    tags[0x8769] = {
        0x829A: 0.01, 0x9003: "2024:05:06 07:08:09", 0xA431: SERIAL, 0xA430: "Anna",
        0x927C: b"maker notes " + SERIAL.encode(), 0x9286: b"ASCII\0\0\0Anna", 0xA434: "50mm",
    }  # fmt: skip
    tags[0x8825] = {1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)}
    return tags


def written(data: bytes, *, keep_metadata: bool = False) -> bytes:
    return write_picture(read_picture(data, keep_metadata=keep_metadata))


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photo_stays_what_it_was(name: str) -> None:
    data, channels = PHOTOS[name]
    if name == "tiff 16 bit":
        with pytest.raises(PhotoError, match="a TIFF of 16 bits a sample"):
            read_picture(data)
        return
    again = written(data)
    checked, before = check_photo(again), check_photo(data)
    kind = read_photo_header(io.BytesIO(data)).kind
    assert read_photo_header(io.BytesIO(again)).kind == kind
    assert checked.size_hwc[:2] == before.size_hwc[:2]
    if name != "tiff cmyk":
        assert checked.size_hwc[2] == channels
    then, now = (np.asarray(decode_checked(each), int) for each in (before, checked))
    lossy = kind == "JPEG" or name == "webp"
    assert np.abs(then - now).max() <= (12 if lossy else 0)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_of_a_png_stay_to_the_last(channels: int) -> None:
    libvips = pytest.importorskip("pyvips")
    rng = np.random.default_rng(channels)
    pixels = rng.integers(1, 65536, (37, 53, channels)).astype(np.uint16)
    image = libvips.Image.new_from_array(pixels)
    space = {1: "grey16", 2: "grey16", 3: "rgb16", 4: "rgb16"}[channels]
    image = image.copy(interpretation=space)
    for interlace in (False, True):
        data = image.pngsave_buffer(bitdepth=16, interlace=interlace)
        read = read_picture(data)
        assert read.pixels.dtype == np.uint16
        assert np.array_equal(read.pixels, pixels)
        back = libvips.Image.new_from_buffer(write_picture(read), "").numpy()
        assert back.dtype == np.uint16
        assert np.array_equal(back.reshape(pixels.shape), pixels)


def test_16_bits_survive_a_round_trip() -> None:
    deep = np.random.default_rng(1).integers(1, 65536, (20, 30)).astype(np.uint16)
    read = read_picture(encode(Image.fromarray(deep), "PNG"))
    assert np.array_equal(read.pixels[..., 0], deep)
    assert np.array_equal(read_picture(write_picture(read)).pixels, read.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_orientation_is_applied_and_gone(orientation: int, form: str) -> None:
    upright = picture()
    options = {"lossless": True} if form == "WEBP" else {"quality": 97} if form == "JPEG" else {}
    data = encode(stored(upright, orientation), form, exif=exif(orientation), **options)
    again = written(data)
    image = Image.open(io.BytesIO(again))
    assert image.getexif().get(0x0112, 1) == 1
    assert image.size == upright.size
    assert np.abs(np.asarray(image.convert("RGB"), int) - np.asarray(upright)).mean() < 2


@pytest.mark.parametrize("quality", [40, 75, 95])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_coded_as_before(quality: int, subsampling: int, progressive: bool) -> None:
    data = encode(
        picture(), "JPEG", quality=quality, subsampling=subsampling, progressive=progressive
    )
    before, after = (Image.open(io.BytesIO(each)) for each in (data, written(data)))
    assert after.quantization == before.quantization  # type: ignore[attr-defined]
    assert get_sampling(after) == subsampling
    assert ("progressive" in after.info) == progressive


def test_cmyk_stays_cmyk_with_its_black_and_its_profile() -> None:
    data = encode(picture().convert("CMYK"), "JPEG", quality=95)
    read = read_picture(data)
    assert read.mode == "CMYK"
    read.pixels[:] = read.black
    image = Image.open(io.BytesIO(write_picture(read)))
    assert image.mode == "CMYK"
    assert np.asarray(image.convert("RGB")).max() < 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_color_profile_stays_where_it_fits(form: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encode(picture(), form, icc_profile=profile)
    assert Image.open(io.BytesIO(written(data))).info.get("icc_profile") == profile
    gray = encode(picture().convert("L"), form, icc_profile=profile)
    if form != "WEBP":  # which has no gray
        assert not Image.open(io.BytesIO(written(gray))).info.get("icc_profile")


def test_what_transparency_hides_is_gone() -> None:
    rgba = np.dstack([np.asarray(picture()), np.full((120, 200), 255, np.uint8)])
    rgba[20:60, 30:90, 3] = 0
    again = np.asarray(Image.open(io.BytesIO(written(encode(Image.fromarray(rgba), "PNG")))))
    assert not again[20:60, 30:90].any()
    assert np.array_equal(again[70:], rgba[70:])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("keep", [False, True])
def test_metadata_go_and_the_harmless_stay_if_wanted(form: str, keep: bool) -> None:
    tags = full_exif(6)
    if form == "TIFF":  # Pillow writes no further directory into a TIFF made of EXIF's bytes
        del tags[0x8769]
        del tags[0x8825]
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>Anna at home</x:xmpmeta>"
    options = {} if form == "TIFF" else {"xmp": xmp}
    if form == "JPEG":
        options["comment"] = b"Anna"
    data = encode(picture(), form, exif=tags.tobytes(), **options)
    assert b"Anna" in data
    again = written(data, keep_metadata=keep)
    for secret in (b"Anna", SERIAL.encode(), b"maker notes"):
        assert secret not in again
    left = Image.open(io.BytesIO(again)).getexif()
    assert 0x8825 not in left
    assert left.get(0x0112, 1) == 1
    assert left.get(0x010F) == ("Maker" if keep else None)
    assert left.get(0x8298) == ("(c) me" if keep else None)
    if form != "TIFF":
        below = left.get_ifd(0x8769)
        assert below.get(0x9003) == ("2024:05:06 07:08:09" if keep else None)
        assert not {0xA431, 0xA430, 0x927C, 0x9286} & set(below)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("keep", [False, True])
def test_exiftool_finds_nothing_of_it(form: str, keep: bool, tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(encode(picture(), form, exif=full_exif(3)))
    everything = "-all:all", "-ee", "-G1", "-s", "-u"
    subprocess.run(
        ["exiftool", "-q", "-overwrite_original", "-IPTC:City=Paris", "-XMP:City=Paris", str(path)],
        check=form == "JPEG",
    )
    path.write_bytes(written(path.read_bytes(), keep_metadata=keep))
    listed = subprocess.run(
        ["exiftool", *everything, str(path)], capture_output=True, text=True, check=True
    ).stdout
    for secret in ("Anna", SERIAL, "GPS", "Paris", "Thumbnail", "MakerNote", "XMP", "IPTC"):
        assert secret not in listed, listed
    assert ("Model 5" in listed) == keep
    assert "Rotate" not in listed


def test_of_several_pictures_one_is_written() -> None:
    frames = [picture(), picture().rotate(180)]
    webp = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    png = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    tiff = encode(frames[0], "TIFF", save_all=True, append_images=frames[1:])
    for data in (webp, png, tiff):
        image = Image.open(io.BytesIO(written(data)))
        assert getattr(image, "n_frames", 1) == 1
        assert np.array_equal(np.asarray(image.convert("RGB")), np.asarray(frames[0]))
    phone = PHOTOS["jpeg of a phone with a second picture"][0]
    assert written(phone).count(b"\xff\xd8\xff") == 1
    assert b"SEFT phone data" not in written(PHOTOS["jpeg with a trailer"][0])


def test_a_broken_photo_is_refused() -> None:
    with pytest.raises(PhotoError, match="truncated"):
        read_picture(encode(picture(), "JPEG")[:900])
    with pytest.raises(PhotoError, match="a GIF"):
        read_picture(encode(picture(), "GIF"))
