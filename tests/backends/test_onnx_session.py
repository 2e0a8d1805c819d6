from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from facekit.backends.onnxruntime.session import OnnxSession, session_options
from facekit.contract import TensorSpec
from facekit.errors import ConfigError, InputError
from tests.backends.models import SQUARE, TWICE, X, config, write_onnx


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(path)
    return path


def rows(*values: list[float]) -> dict[str, Any]:
    return {"x": np.array(values, np.float32)}


def test_run_batches_requests_and_gives_each_its_own(file: Path) -> None:
    session = OnnxSession(config(file))
    requests = [rows([1, 2]), rows([3, 4], [5, 6]), rows([7, 8, 9])]

    results = session.run(requests, [["twice"], ["square", "twice"], ["square"]])

    assert [sorted(result) for result in results if isinstance(result, dict)] == [
        ["twice"],
        ["square", "twice"],
        ["square"],
    ]
    first, second, third = (result for result in results if isinstance(result, dict))
    assert first["twice"].tolist() == [[2, 4]]
    assert second["twice"].tolist() == [[6, 8], [10, 12]]
    assert second["square"].tolist() == [[9, 16], [25, 36]]
    assert third["square"].tolist() == [[49, 64, 81]]


def test_run_of_a_batch_gives_each_row_its_own(file: Path) -> None:
    values = [[float(value)] for value in range(11)]
    none = {"x": np.empty((0, 1), np.float32)}
    for requests in ([rows(*values)], [rows(*values[:5]), rows(*values[5:])], [none]):
        results = OnnxSession(config(file)).run(requests, [["twice"]] * len(requests))
        got = np.concatenate([result["twice"] for result in results if isinstance(result, dict)])
        assert got.tolist() == (2 * np.concatenate([r["x"] for r in requests])).tolist()


def test_run_again_does_not_change_earlier_answers(file: Path) -> None:
    session = OnnxSession(config(file))
    (first, _) = session.run([rows([1]), rows([2])], [["twice"]] * 2)
    session.run([rows([5]), rows([6])], [["twice"]] * 2)

    assert isinstance(first, dict)
    assert first["twice"].tolist() == [[2]]


def test_run_with_a_bad_request_fails_it_alone(file: Path) -> None:
    session = OnnxSession(config(file))
    bad = {"x": np.array([["text"]], object)}

    good, failed, other = session.run([rows([1]), bad, rows([2])], [["twice"]] * 3)

    assert isinstance(failed, InputError)
    assert isinstance(good, dict) and good["twice"].tolist() == [[2]]
    assert isinstance(other, dict) and other["twice"].tolist() == [[4]]


def test_run_without_batching_takes_whole_arrays(file: Path) -> None:
    dims = (-1, -1)
    session = OnnxSession(
        config(
            file,
            max_batch_size=0,
            inputs=(TensorSpec("x", "FP32", dims),),
            outputs=(TensorSpec("twice", "FP32", dims),),
        )
    )

    results = session.run([rows([1, 2]), rows([3, 4])], [["twice"], ["twice"]])

    assert [result["twice"].tolist() for result in results if isinstance(result, dict)] == [
        [[2, 4]],
        [[6, 8]],
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": (TensorSpec("thrice", "FP32", (-1,)),)}, "no output 'thrice'; it has 'twice'"),
        ({"inputs": (TensorSpec("y", "FP32", (-1,)),)}, "no input 'y'; it has 'x'"),
        ({"inputs": ()}, "needs the input 'x'"),
        ({"inputs": (TensorSpec("x", "INT64", (-1,)),)}, "is FP32 in the network and INT64"),
        ({"outputs": (TWICE, TensorSpec("square", "FP32", (-1, 2)))}, "'square' has the dims"),
        ({"parameters": {"intra_op_threads": "1"}}, "unknown parameter 'intra_op_threads'"),
        ({"parameters": {"intra_op_thread_count": "-1"}}, "not an integer in 0..1024"),
        ({"graph_level": 3}, "optimization.graph.level is 3"),
    ],
)
def test_load_that_does_not_fit_says_why(file: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OnnxSession(config(file, **changes))


def test_load_with_a_fixed_batch_axis_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(path, batch=1)

    with pytest.raises(ConfigError, match="first axis must be free for a max_batch_size of 8"):
        OnnxSession(config(path))


def test_load_of_a_broken_file_names_it(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a network")

    with pytest.raises(ConfigError, match=r"ONNX Runtime cannot load model\.onnx"):
        OnnxSession(config(path))


def test_session_options_follow_the_parameters(file: Path) -> None:
    parameters = {
        "intra_op_thread_count": "3",
        "inter_op_thread_count": "2",
        "execution_mode": "1",
        "enable_mem_arena": "0",
        "enable_mem_pattern": "0",
        "session.intra_op.allow_spinning": "1",
    }

    options = session_options(config(file, parameters=parameters, graph_level=-1))

    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert options.execution_mode == ort.ExecutionMode.ORT_PARALLEL
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert options.graph_optimization_level == level
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    assert options.get_session_config_entry("session.inter_op.allow_spinning") == "0"


def test_specs_of_the_tiny_model_are_the_ones_it_has(file: Path) -> None:
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    assert [entry.name for entry in session.get_inputs()] == [X.name]
    assert [entry.name for entry in session.get_outputs()] == [TWICE.name, SQUARE.name]
