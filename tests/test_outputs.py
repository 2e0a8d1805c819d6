from __future__ import annotations

import re
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from facekit.errors import DataError
from facekit.outputs import (
    begins_as,
    check_own,
    is_our_picture,
    picture_bytes,
    write_figure,
)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".jpeg"])
def test_pictures_are_marked_and_open(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(picture_bytes(Image.new("RGB", (40, 30), "red"), suffix))
    assert is_our_picture(path)
    with Image.open(path) as picture:
        assert picture.size == (40, 30)
        picture.load()
    Image.new("RGB", (40, 30), "red").save(path)
    assert not is_our_picture(path)


@pytest.mark.parametrize("suffix", "png pdf svg ps eps jpg jpeg tif tiff webp".split())
def test_plots_are_marked(tmp_path: Path, suffix: str) -> None:
    path, figure = tmp_path / f"plot.{suffix}", Figure()
    FigureCanvasAgg(figure)
    write_figure(path, figure)
    assert is_our_picture(path)


def test_what_may_be_replaced(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    ours = begins_as(re.compile(b"ours"))
    check_own(path, ours, [path])
    check_own(Path("-"), ours)
    check_own(Path("/dev/null"), ours)
    path.touch()
    check_own(path, ours)
    path.write_bytes(b"ours, too")
    check_own(path, ours, [tmp_path / "missing"])
    link.hardlink_to(path)
    with pytest.raises(DataError, match="link: is a file that is read; give another name"):
        check_own(link, ours, [path])
    path.write_bytes(b"theirs")
    with pytest.raises(DataError, match="exists and was not written by facekit"):
        check_own(path, ours)
