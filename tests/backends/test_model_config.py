import json
from pathlib import Path
from typing import Any

import pytest

from facekit.backends.model_config import ModelConfig
from facekit.contract import TensorSpec
from facekit.errors import ConfigError


def arguments(folder: Path, **changes: Any) -> dict[str, str]:
    raw = {
        "name": "net",
        "max_batch_size": 4,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1"]}],
        "output": [{"name": "y", "data_type": "TYPE_INT64", "dims": ["3"]}],
        "parameters": {"threads": {"string_value": "2"}},
    }
    (folder / "1").mkdir(exist_ok=True)
    return {
        "model_config": json.dumps(raw | changes),
        "model_repository": str(folder),
        "model_version": "1",
    }


def test_from_args_reads_everything(tmp_path: Path) -> None:
    args = arguments(tmp_path)
    (tmp_path / "1" / "model.onnx").touch()

    config = ModelConfig.from_args(args, "model.onnx")

    assert (config.name, config.max_batch_size) == ("net", 4)
    assert config.inputs == (TensorSpec("x", "FP32", (-1,)),)
    assert config.outputs == (TensorSpec("y", "INT64", (3,)),)
    assert config.file == tmp_path / "1" / "model.onnx"
    assert config.integer("threads", 1, 1, 8) == 2
    assert config.integer("others", 7, 1, 8) == 7


def test_from_args_prefers_the_named_file(tmp_path: Path) -> None:
    args = arguments(tmp_path, default_model_filename="rgb.dali")
    (tmp_path / "1" / "rgb.dali").touch()

    assert ModelConfig.from_args(args, "model.dali").file.name == "rgb.dali"


def test_from_args_without_the_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model net: the file .*/1/model\.onnx does not exist"):
        ModelConfig.from_args(arguments(tmp_path), "model.onnx")


def test_from_args_with_reshape_is_refused(tmp_path: Path) -> None:
    entry = {"name": "x", "data_type": "TYPE_FP32", "dims": ["1"], "reshape": {"shape": []}}
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").touch()

    with pytest.raises(ConfigError, match="tensor x: reshape is not supported"):
        ModelConfig.from_args(arguments(tmp_path, input=[entry]), "model.onnx")


@pytest.mark.parametrize("text", ["0", "9", "two", "", "1.5"])
def test_integer_out_of_range_names_parameter_and_range(tmp_path: Path, text: str) -> None:
    args = arguments(tmp_path, parameters={"threads": {"string_value": text}})
    (tmp_path / "1" / "model.onnx").touch()
    config = ModelConfig.from_args(args, "model.onnx")

    with pytest.raises(ConfigError, match=f"parameter threads is '{text}', .* 1..8"):
        config.integer("threads", 1, 1, 8)


def test_check_parameters_names_the_unknown_one(tmp_path: Path) -> None:
    args = arguments(tmp_path)
    (tmp_path / "1" / "model.onnx").touch()
    config = ModelConfig.from_args(args, "model.onnx")

    with pytest.raises(ConfigError, match="unknown parameter 'threads'; known are a, b"):
        config.check_parameters(("b", "a"))
    config.check_parameters(("threads",))
    config.check_parameters((), prefixes=("thr",))
