"""Clustering parameters: each wrong one is refused by name."""

from __future__ import annotations

import pytest

from facekit.detection.parameters import ClusteringParameters, parse_parameters
from facekit.errors import ConfigError


def test_parse_nothing_gives_tao_defaults() -> None:
    assert parse_parameters({}, ["face"]) == [ClusteringParameters()]


def test_parse_one_number_holds_for_all_classes() -> None:
    parsed = parse_parameters({"dbscan_eps": "0.2"}, ["mask", "no_mask"])
    assert [p.dbscan_eps for p in parsed] == [0.2, 0.2]


def test_parse_algorithm_in_any_case() -> None:
    assert (
        parse_parameters({"clustering_algorithm": "nms"}, ["face"])[0].clustering_algorithm == "NMS"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dbscan_epsilon": "0.3"}, "unknown parameter 'dbscan_epsilon'; known are clustering_alg"),
        ({"dbscan_eps": "near"}, "dbscan_eps is 'near'; a number is needed"),
        ({"dbscan_eps": "1.5"}, "dbscan_eps is 1.5; it must be between 0 and 1"),
        ({"dbscan_eps": "nan"}, "dbscan_eps is nan; it must be between 0 and 1"),
        ({"coverage_threshold": "-0.1"}, "coverage_threshold is -0.1; it must be between 0 and 1"),
        ({"dbscan_min_samples": "inf"}, "dbscan_min_samples is inf; it must be 0 or more"),
        ({"nms_iou_threshold": "0.3,0.2"}, r"nms_iou_threshold has 2 values for 1 classes \(face"),
        (
            {"clustering_algorithm": "MLP"},
            "clustering_algorithm is 'MLP'; it must be one of DBSCAN",
        ),
    ],
)
def test_parse_wrong_parameter_is_named(values: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_parameters(values, ["face"])


def test_another_least_score_takes_the_place_of_all() -> None:
    own = ClusteringParameters(coverage_threshold=0.5, nms_confidence_threshold=0.5)
    low = own.at(0.1)
    assert (low.coverage_threshold, low.nms_confidence_threshold) == (0.1, 0.1)
    assert low.dbscan_confidence_threshold == 0.1
    assert own.at(0.95).dbscan_confidence_threshold == 0.9
    assert own.at(None) is own
