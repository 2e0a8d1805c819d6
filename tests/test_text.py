from __future__ import annotations

from facekit.text import table


def test_table_has_a_rule_below_a_header_of_several_lines() -> None:
    rows = [("name", "ours\nlocalhost"), ("a", "1"), ("a longer one", "")]
    assert table(rows, "lr", indent=" ").splitlines() == [
        "                    ours",
        " name          localhost",
        " " + "-" * 23,
        " a                     1",
        " a longer one",
    ]


def test_table_without_a_header() -> None:
    assert table([("a", "b"), ("long", "c")], "ll", header=False) == "a     b\nlong  c"
