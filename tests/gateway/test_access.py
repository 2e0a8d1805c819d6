"""Tokens of a file, and a client's rate."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from facekit.cli import main
from facekit.errors import DataError
from facekit.gateway import access
from facekit.gateway.access import Rates, Tokens, new_token
from facekit.gateway.problems import ProblemError


class Clock:
    """A clock that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(access.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def refused(tokens: Tokens, authorization: str) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        tokens.name_of(authorization)
    return caught.value


def test_token_of_the_file_is_let_in_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    ann, ben = new_token(path, "ann"), new_token(path, "ben@example.org")
    tokens = Tokens(path, pytest.fail)

    assert tokens.name_of(f"Bearer {ann}") == "ann"
    assert tokens.name_of(f"bearer  {ben} ") == "ben@example.org"
    assert ann not in path.read_text() and len(ann) == 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer ", "Basic eDp5", "Bearer nonsense", "ä"])
def test_other_callers_are_told_what_is_asked_for(tmp_path: Path, given: str) -> None:
    path = tmp_path / "tokens.txt"
    new_token(path, "ann")

    problem = refused(Tokens(path, pytest.fail), given)

    assert problem.status == 401
    assert problem.headers["WWW-Authenticate"] == "Bearer"
    assert "Authorization: Bearer TOKEN" in problem.detail


def test_the_hash_itself_is_no_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    new_token(path, "ann")
    written = path.read_text().split("sha256:")[1].strip()

    refused(Tokens(path, pytest.fail), f"Bearer {written}")


def test_the_servers_own_token_is_let_in(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    new_token(path, "ann")

    assert Tokens(path, pytest.fail, "secret").name_of("Bearer secret") == "facekit"


def test_changed_file_counts_at_once(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "tokens.txt"
    ann = new_token(path, "ann")
    said: list[str] = []
    tokens = Tokens(path, said.append)
    ben = new_token(path, "ben")
    refused(tokens, f"Bearer {ben}")

    clock.now += 1
    assert tokens.name_of(f"Bearer {ben}") == "ben"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("ann")))
    clock.now += 1
    refused(tokens, f"Bearer {ann}")

    assert said == [f"{path}: 2 tokens", f"{path}: 1 token"]


@pytest.mark.parametrize("content", [None, "ann sha256:12\n", "\xff"])
def test_file_that_has_become_unusable_lets_nobody_in(
    tmp_path: Path, clock: Clock, content: str | None
) -> None:
    path = tmp_path / "tokens.txt"
    ann = new_token(path, "ann")
    said: list[str] = []
    tokens = Tokens(path, said.append)
    path.unlink() if content is None else path.write_bytes(content.encode("latin-1"))
    clock.now += 1

    refused(tokens, f"Bearer {ann}")

    assert len(said) == 1 and said[0].startswith(str(path)) and "nobody is let in" in said[0]


def test_comments_and_empty_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text("# who may call\n\n")
    ann = new_token(path, "ann")

    assert Tokens(path, pytest.fail).name_of(f"Bearer {ann}") == "ann"


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "no such file; make one with: facekit token"), ("ann abc", ":1: expected NAME sha256")],
)
def test_start_with_a_file_that_can_not_be_used_is_refused(
    tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path / "tokens.txt"
    if content is not None:
        path.write_text(content)

    with pytest.raises(DataError, match=words):
        Tokens(path, pytest.fail)


def test_the_command_prints_a_token_and_keeps_its_hash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tokens.txt"

    assert main(["token", str(path), "ann"]) == 0
    token = capsys.readouterr().out.strip()

    assert Tokens(path, pytest.fail).name_of(f"Bearer {token}") == "ann"
    assert main(["token", str(path), "ann"]) == 2
    assert "has a token of the name ann already" in capsys.readouterr().err
    assert main(["token", str(path), "an n"]) == 2
    assert "name: expected letters" in capsys.readouterr().err


def test_client_has_its_rate_and_two_seconds_of_it_at_once(clock: Clock) -> None:
    rates = Rates(2.0)

    def allowed(client: str, tries: int = 10) -> int:
        count = 0
        for _ in range(tries):
            try:
                rates.take(client)
                count += 1
            except ProblemError as problem:
                assert problem.status == 429 and problem.headers["Retry-After"] == "1"
        return count

    assert allowed("ann") == 4
    assert allowed("ben") == 4
    clock.now += 1
    assert allowed("ann") == 2
    clock.now += 60
    assert allowed("ann") == 4


def test_slow_rate_says_how_long_to_wait(clock: Clock) -> None:
    rates = Rates(0.1)
    rates.take("ann")

    with pytest.raises(ProblemError) as caught:
        rates.take("ann")

    assert caught.value.headers["Retry-After"] == "10"


def test_clients_that_were_not_seen_for_long_are_forgotten(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_CLIENTS", 2)
    rates = Rates(0.5)
    for client in ("a", "b", "c"):
        rates.take(client)

    assert len(rates._left) == 2
