from pathlib import Path

from facekit.serving.log import foreign_lines, reasons, tail

HARMLESS = [
    'E1121 02:40:51.817034 7678 server.cc:241] "CudaDriverHelper has not been initialized."',
    'E1121 02:40:55.492445 7678 ensemble_scheduler.cc:1468] "unable to create stream for e: CUDA '
    'driver version is insufficient for CUDA runtime version"',
]
FAILED = (
    "E1121 02:45:54.449038 9540 model_lifecycle.cc:642] \"failed to load 'facenet' version 1: "
    "Internal: ConfigError: model facenet: unknown parameter 'eps'; known are dbscan_eps"
    "\\n\\nAt:\\n  "
    '/x/model.py(13): <module>\\n  <frozen importlib._bootstrap>(241): _call\\n"'
)


def test_reasons_of_a_failed_model_are_one_sentence_without_the_stack() -> None:
    lines = [*HARMLESS, FAILED, FAILED, 'I1121 02:45:55.0 9540 server.cc:1] "error: creating"']

    assert reasons(lines) == ["model facenet: unknown parameter 'eps'; known are dbscan_eps"]


def test_reasons_without_a_failed_model_are_the_errors() -> None:
    error = 'E1121 02:45:54.449038 9540 main.cc:301] "failed to start HTTP service: in use"'

    assert reasons([*HARMLESS, error]) == ["failed to start HTTP service: in use"]


def test_reasons_of_a_log_without_errors_are_its_end() -> None:
    assert reasons(["one", "", "+---+", "| a |", "two"]) == ["one", "two"]


def test_foreign_lines_are_those_of_backend_processes_and_libraries() -> None:
    own = 'I1121 02:45:54.449038 9540 python_be.cc:2249] "TRITONBACKEND_ModelInstanceInitialize"'
    shell = "bash: line 1: /tmp/a: No such file or directory"

    assert foreign_lines([*HARMLESS, own, shell, "", "+---+", "| a |"]) == [shell]


def test_reasons_of_nothing_are_none() -> None:
    assert reasons([]) == []


def test_tail_reads_the_end_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(100_000)), "utf-8")

    assert tail(path, 2) == ["line 99998", "line 99999"]
    assert tail(path, 0) == []


def test_tail_of_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none", 5) == []
