"""The key: where it is read, where it goes and where not; and what each refusal tells a person."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conversion.errors import FetchError
from conversion.ngc import Artifact, api_key, base_url
from tests.conversion.downloads import FACENET, NETWORK, TIMEOUTS, Download, write_files
from tests.fakes.ngc_scenarios import KEY, LEGACY_KEY, SCENARIOS, SESSION_TOKEN, SIGNATURE, Script
from tests.fakes.ngc_server import NgcServer

ETLT = "*model.etlt"
Start = Callable[[Script], Download]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts the server with a script and returns a download from it."""
    monkeypatch.setattr("conversion.download.MAX_WAIT_S", 0.05)
    monkeypatch.setattr("conversion.download.PAUSE_S", 0.01)
    with NgcServer(write_files(tmp_path / "ngc")) as server:

        def begin(script: Script) -> Download:
            server.script = script
            return Download(server, tmp_path / "weights")

        yield begin


def refusal(download: Download) -> str:
    """Return the words of a download that fails, which hold no secret."""
    with pytest.raises(FetchError) as caught:
        download.run()
    words = "\n".join([str(caught.value), *download.said])
    assert not any(each in words for each in (KEY, LEGACY_KEY, SESSION_TOKEN, SIGNATURE)), words
    assert words.startswith("model.etlt of nvidia/tao/facenet:pruned_quantized_v2.0.1: http://")
    return words


def test_key_is_not_sent_where_none_is_wanted(start: Start) -> None:
    download = start({})
    download.key = KEY
    assert download.run() == NETWORK
    assert download.sent("Authorization") == [("api", None), ("storage", None)]


def test_key_goes_to_the_api_alone(start: Start) -> None:
    download = start(SCENARIOS["locked"])
    download.key = KEY
    assert download.run() == NETWORK
    assert download.sent("Authorization") == [
        ("api", None),
        ("api", f"Bearer {KEY}"),
        ("storage", None),
    ]


def test_legacy_key_is_exchanged_for_a_token(start: Start) -> None:
    download = start(SCENARIOS["locked-legacy"])
    download.key = LEGACY_KEY
    assert download.run() == NETWORK
    hosts_and_schemes = [
        (host, text.split()[0] if text else None) for host, text in download.sent("Authorization")
    ]
    assert hosts_and_schemes == [
        ("api", None),
        ("api", "Basic"),
        ("api", "Bearer"),
        ("storage", None),
    ]
    assert f"Bearer {SESSION_TOKEN}" in [text for _, text in download.sent("Authorization")]


def test_key_once_needed_is_sent_at_once_when_resuming(start: Start) -> None:
    cut = {"path": ETLT, "on": "storage", "times": 1, "cut_after": 1000}
    download = start({"key": KEY, "rules": [cut]})
    download.key = KEY
    assert download.run() == NETWORK
    assert [text for host, text in download.sent("Authorization") if host == "api"] == [
        None,
        f"Bearer {KEY}",
        f"Bearer {KEY}",
    ]


def test_key_does_not_follow_a_redirect_to_another_name_of_the_same_machine(start: Start) -> None:
    download = start({"key": KEY})
    elsewhere = f"http://localhost:{download.server.storage_port}/storage/nothing"
    download.server.script = {
        "key": KEY,
        "rules": [
            {"path": ETLT, "on": "api", "times": 1, "status": 401},
            {"path": ETLT, "on": "api", "redirect": elsewhere},
        ],
    }
    download.key = KEY
    words = refusal(download)
    assert "404" in words and f"from {elsewhere}, where NGC redirects to" in words
    assert download.sent("Authorization")[:3] == [
        ("api", None),
        ("api", f"Bearer {KEY}"),
        ("storage", None),
    ]


def test_netrc_is_not_sent(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    download = start({})
    assert download.run() == NETWORK
    assert {text for _, text in download.sent("Authorization")} == {None}


def test_refusal_without_a_key_says_how_to_set_one(start: Start) -> None:
    words = refusal(start(SCENARIOS["locked"]))
    assert "401 Unauthorized: 'Authentication is required'. Set NGC_API_KEY in .env" in words
    assert "give its folder: scripts/convert --from DIR" in words


def test_refusal_of_the_key_says_where_terms_are_accepted(start: Start) -> None:
    download = start({"key": "nvapi-another"})
    download.key = KEY
    words = refusal(download)
    assert "403 Forbidden: 'The key is not valid for this'" in words
    assert "https://catalog.ngc.nvidia.com/orgs/nvidia/teams/tao/models/facenet" in words


def test_refusal_of_a_legacy_key_says_to_make_a_personal_one(start: Start) -> None:
    download = start({"legacy_key": "another"})
    download.key = LEGACY_KEY
    words = refusal(download)
    assert "/token gave no token for the NGC key: the server said 401" in words
    assert "it begins with nvapi-" in words


def test_refusal_that_repeats_the_key_is_told_without_it(start: Start) -> None:
    echo = {"path": ETLT, "status": 403, "body": f"bad key {KEY}\nsecond line"}
    download = start({"rules": [echo]})
    download.key = KEY
    words = refusal(download)
    assert "'bad key ***'" in words and "second line" not in words


def test_missing_file_is_asked_for_at_both_addresses_and_not_again(start: Start) -> None:
    download = start(SCENARIOS["missing"])
    words = refusal(download)
    assert "404 Not Found: 'no such version'" in words and "which versions there are" in words
    assert "scripts/convert --from DIR" in words
    assert [entry["path"] for entry in download.server.requests] == [
        "/v2/models/nvidia/tao/facenet/versions/pruned_quantized_v2.0.1/files/model.etlt",
        "/v2/models/org/nvidia/team/tao/facenet/pruned_quantized_v2.0.1/files"
        "?redirect=true&path=model.etlt",
    ]


def test_file_known_at_the_newer_address_alone_is_found(start: Start) -> None:
    older = {"path": "*/versions/*", "status": 404}
    assert start({"rules": [older]}).run() == NETWORK


def test_forbidden_file_is_asked_for_once(start: Start) -> None:
    download = start(SCENARIOS["forbidden"])
    assert "'terms not accepted'" in refusal(download)
    assert len(download.server.requests) == 1


def test_broken_server_is_told_by_its_last_words(start: Start) -> None:
    words = refusal(start(SCENARIOS["broken"]))
    assert "500 Internal Server Error: 'broken'; given up after 3 attempts" in words


def test_web_page_as_the_reason_is_told_by_its_title(start: Start) -> None:
    page = "<!DOCTYPE html>\n<html><head><title>\nBlocked by policy</title>"
    words = refusal(start({"rules": [{"path": ETLT, "status": 403, "body": page}]}))
    assert "403 Forbidden: 'Blocked by policy'" in words


def test_refusal_of_the_storage_is_told_by_its_message(start: Start) -> None:
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    )
    words = refusal(start({"rules": [{"path": ETLT, "on": "storage", "status": 403, "body": xml}]}))
    assert "403 Forbidden: 'Request has expired' (from http://" in words


@pytest.mark.parametrize("target", ["http://host:port/", "http://[", "https://host:99999/"])
def test_redirect_to_no_address_is_refused(start: Start, target: str) -> None:
    download = start({"rules": [{"path": ETLT, "redirect": target}]})
    assert "redirects to no valid address" in refusal(download)


def test_redirects_without_end_are_left(start: Start) -> None:
    download = start({})
    again = f"{download.server.url}/v2/model.etlt?{SIGNATURE}"
    download.server.script = {"rules": [{"path": ETLT, "redirect": again}]}
    assert "more than 5 redirects" in refusal(download)


def test_redirect_to_another_kind_of_address_is_refused(start: Start) -> None:
    download = start({"rules": [{"path": ETLT, "redirect": "file:///etc/passwd"}]})
    assert "redirects to file:///etc/passwd, which is not" in refusal(download)


def test_server_that_is_not_there_is_named(start: Start) -> None:
    download = start({})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    download.environment = {"FACEKIT_NGC_URL": f"http://{address}"}
    words = refusal(download)
    assert f"no connection to {address} (Connection refused); given up after 3" in words
    assert ".env takes a proxy as https_proxy" in words


def test_host_name_that_is_not_known_is_named(start: Start) -> None:
    download = start({})
    download.environment = {"FACEKIT_NGC_URL": "http://ngc.invalid"}
    assert "no connection to ngc.invalid (" in refusal(download)


def test_server_that_says_nothing_is_given_up(start: Start) -> None:
    download = start({})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        download.environment = {"FACEKIT_NGC_URL": f"http://{address}"}
        assert f"{address} sent nothing for {TIMEOUTS.read_s} s" in refusal(download)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate that nobody trusts, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl program")
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        " -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout all.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    everything = folder / "all.pem"
    everything.write_text(everything.read_text() + (folder / "cert.pem").read_text())
    return everything


def test_server_with_an_unknown_certificate_gets_no_key(certificate: Path, tmp_path: Path) -> None:
    with NgcServer(write_files(tmp_path / "ngc"), {"key": KEY}, certificate=certificate) as server:
        download = Download(server, tmp_path / "weights", key=KEY)
        with pytest.raises(
            FetchError,
            match=r"no certificate that is trusted here \(self.signed.*convert --from DIR",
        ):
            download.run()
        assert download.said == [] and server.requests == []


def test_redirect_that_leaves_encryption_is_refused(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_name("cert.pem")))
    with NgcServer(write_files(tmp_path / "ngc"), certificate=certificate) as server:
        download = Download(server, tmp_path / "weights")
        with pytest.raises(FetchError, match=r"redirects to http://\S+, which is not encrypted"):
            download.run()
        assert [entry["on"] for entry in server.requests] == ["api"]
        server.script = {"redirect": False}
        assert download.run() == NETWORK


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host",
        "host/path",
        "https://a:b@host",
        "https://host/?key=x",
        "https://",
        "http://host:x",
    ],
)
def test_base_url_that_is_no_address_names_the_variable(url: str) -> None:
    with pytest.raises(FetchError, match=r"^FACEKIT_NGC_URL: "):
        base_url({"FACEKIT_NGC_URL": url})


def test_base_url_is_nvidias_unless_another_is_given() -> None:
    assert base_url({}) == base_url({"FACEKIT_NGC_URL": ""}) == "https://api.ngc.nvidia.com"
    assert base_url({"FACEKIT_NGC_URL": "http://mirror:8080/ngc/"}) == "http://mirror:8080/ngc"


def test_urls_of_a_name_with_odd_characters_are_quoted() -> None:
    artifact = Artifact("models", "nvidia/tao/a b:v1/2")
    usual, newer = artifact.urls("https://host", "x?y.etlt")
    assert usual == "https://host/v2/models/nvidia/tao/a%20b/versions/v1%2F2/files/x%3Fy.etlt"
    assert newer.endswith("/a%20b/v1%2F2/files?redirect=true&path=x%3Fy.etlt")


def test_urls_of_the_tool_are_those_of_a_resource() -> None:
    artifact = Artifact.tao_converter("v5")
    assert artifact.urls("https://host", "tao-converter")[0] == (
        "https://host/v2/resources/nvidia/tao/tao-converter/versions/v5/files/tao-converter"
    )
    assert FACENET.label == "nvidia/tao/facenet:pruned_quantized_v2.0.1"


def test_key_is_the_variables_before_the_files(tmp_path: Path) -> None:
    named, secret = tmp_path / "named", tmp_path / "secret"
    named.write_text("nvapi-named\n")
    secret.write_text("nvapi-secret\n")
    everything = {"NGC_API_KEY": " nvapi-variable ", "NGC_API_KEY_FILE": str(named)}
    assert api_key(everything, secret) == "nvapi-variable"
    assert api_key({**everything, "NGC_API_KEY": ""}, secret) == "nvapi-named"
    assert api_key({}, secret) == "nvapi-secret"


def test_key_that_is_nowhere_is_none(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    assert api_key({}, tmp_path / "nothing") is None
    assert api_key({}, empty) is None


def test_key_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"cannot be read from .*/nothing: No such file"):
        api_key({"NGC_API_KEY_FILE": str(tmp_path / "nothing")})


@pytest.mark.parametrize("key", ["nvapi-a\nnvapi-b", "nvapi a", "nvapi-ä"])
def test_key_that_can_be_none_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(FetchError, match="^NGC_API_KEY does not contain an NGC key") as caught:
        api_key({"NGC_API_KEY": key})
    assert key not in str(caught.value)
