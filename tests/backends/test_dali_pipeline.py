from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facekit.backends.dali.pipeline import DaliPipeline
from facekit.contract import TensorSpec
from facekit.errors import ConfigError, PhotoError, ResponseError
from tests.backends.models import LENGTH, PHOTO, PIXELS, dali_config, jpeg, write_dali


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dali") / "model.dali"
    write_dali(path)
    return path


def photos(*encoded: Any) -> dict[str, Any]:
    rows = np.zeros((len(encoded), max(map(len, encoded))), np.uint8)
    for row, data in zip(rows, encoded, strict=True):
        row[: len(data)] = data
    return {"photo": rows}


def test_run_answers_requests_of_different_sizes_together(file: Path) -> None:
    small, large = jpeg(16, 8, value=10), jpeg(40, 24, value=200)
    pipeline = DaliPipeline(dali_config(file))

    results = pipeline.run([photos(small, small), photos(large)])

    first, second = results
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert first[0].shape == (2, 8, 16, 3)
    assert np.abs(first[0].astype(int) - 10).max() <= 1
    assert second[0].shape == (1, 24, 40, 3)
    assert np.abs(second[0].astype(int) - 200).max() <= 1
    assert first[1].tolist() == [[len(small)]] * 2
    assert second[1].tolist() == [[len(large)]]


def test_run_after_run_gives_the_new_photo(file: Path) -> None:
    pipeline = DaliPipeline(dali_config(file))
    for value in (0, 100, 200):
        (result,) = pipeline.run([photos(jpeg(16, 8, value=value))])
        assert isinstance(result, list)
        assert abs(int(result[0].mean()) - value) <= 1


def test_run_with_bad_photos_fails_their_requests_only(file: Path) -> None:
    good = jpeg(640, 480)
    pipeline = DaliPipeline(dali_config(file))
    truncated = good[: len(good) // 2]
    text = np.frombuffer(b"no photo at all", np.uint8)

    results = pipeline.run([photos(good), photos(good, truncated), photos(good), photos(text)])

    assert isinstance(results[0], list) and results[0][0].shape == (1, 480, 640, 3)
    assert isinstance(results[2], list) and results[2][0].shape == (1, 480, 640, 3)
    assert isinstance(results[1], PhotoError)
    assert str(results[1]).startswith("photo 2 of 2 in `photo` cannot be decoded: ")
    assert isinstance(results[3], PhotoError)
    assert "photo 1 of 1" in str(results[3])
    assert "\n" not in f"{results[1]}{results[3]}"
    # The pipeline lives on.
    (again,) = pipeline.run([photos(good)])
    assert isinstance(again, list)


def test_run_of_nothing_but_bad_photos_gives_their_errors(file: Path) -> None:
    bad = photos(np.zeros(5, np.uint8))

    results = DaliPipeline(dali_config(file)).run([bad, bad])

    assert [type(result) for result in results] == [PhotoError, PhotoError]


def test_run_of_uneven_photos_in_one_request_is_refused(file: Path) -> None:
    pipeline = DaliPipeline(dali_config(file))

    uneven, even = pipeline.run([photos(jpeg(16, 8), jpeg(8, 16)), photos(jpeg(16, 8))])

    assert isinstance(uneven, ResponseError)
    assert "different shapes" in str(uneven)
    assert isinstance(even, list)


def test_run_of_a_batch_gives_each_photo_what_it_gets_alone(file: Path) -> None:
    pipeline = DaliPipeline(dali_config(file))
    encoded = [jpeg(16, 8, value=value) for value in range(10, 80, 10)]
    whole = photos(*encoded)
    results = pipeline.run([whole, photos(jpeg(4, 4))])
    again = pipeline.run([photos(jpeg(16, 8, value=250))])
    batch, other = results
    assert isinstance(batch, list) and isinstance(other, list) and isinstance(again[0], list)
    assert batch[0].shape == (7, 8, 16, 3)
    assert other[0].shape == (1, 4, 4, 3)
    for pixels, value in zip(batch[0], range(10, 80, 10), strict=True):
        assert np.abs(pixels.astype(int) - value).max() <= 1
    assert batch[1].tolist() == [[whole["photo"].shape[1]]] * 7


def test_run_of_a_batch_with_one_uneven_photo_is_refused(file: Path) -> None:
    even = [jpeg(16, 8)] * 6
    uneven, other = DaliPipeline(dali_config(file)).run([photos(*even, jpeg(8, 16)), photos(*even)])
    assert isinstance(uneven, ResponseError)
    assert isinstance(other, list) and other[0].shape == (6, 8, 16, 3)


def test_load_of_an_unknown_input_names_it(file: Path) -> None:
    with pytest.raises(ConfigError, match="no input 'image'"):
        DaliPipeline(dali_config(file, inputs=(TensorSpec("image", "UINT8", (-1,)),)))


def test_load_with_a_missing_output_says_how_many(file: Path) -> None:
    with pytest.raises(ConfigError, match="2 outputs and the configuration 1"):
        DaliPipeline(dali_config(file, outputs=(PIXELS,)))


def test_run_with_swapped_outputs_tells_the_dtypes(file: Path) -> None:
    pipeline = DaliPipeline(dali_config(file, outputs=(LENGTH, PIXELS)))

    with pytest.raises(ConfigError, match="output 0 of the pipeline is UINT8.*length INT32"):
        pipeline.run([photos(jpeg(16, 8))])


def test_load_of_an_unknown_parameter_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="unknown parameter 'num_thread'"):
        DaliPipeline(dali_config(file, parameters={"num_thread": "1"}))


def test_load_of_a_broken_file_names_it(tmp_path: Path) -> None:
    path = tmp_path / "model.dali"
    path.write_bytes(b"not a pipeline")

    with pytest.raises(ConfigError, match=r"DALI cannot load model\.dali"):
        DaliPipeline(dali_config(path, inputs=(PHOTO,)))
