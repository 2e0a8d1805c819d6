"""Debian's Redis 7, which has no modules."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading

import pytest
import redis

from facekit.errors import StoreError, StoreUnavailableError
from facekit.store import Change, open_store
from facekit.store.store import to_bytes
from tests.store.cases import StoreCases
from tests.store.records import CLASSES, FOLDER, answers, changed, check, put, random_records
from tests.workflow.store.server import RedisServer


class TestRedis(StoreCases):
    @pytest.fixture
    def opened(self, empty_redis):
        return lambda: open_store(empty_redis.url)


@pytest.mark.parametrize("seed", range(10, 16))
def test_both_stores_give_the_same_answers(empty_redis, tmp_path, seed):
    before = random_records(seed, CLASSES if seed % 2 else ())
    after = random_records(seed + 100, CLASSES if seed % 3 else ())
    with open_store(f"sqlite:///{tmp_path}/a.db") as file, open_store(empty_redis.url) as server:
        for records in (before, after):
            for store in (file, server):
                put(store, records.values())
            assert answers(file, "d") == answers(server, "d")
        left = {path: record for path, record in before.items() if path not in after}
        check(server, "d", sorted_by_path({**left, **after}))


def sorted_by_path(records):
    return [records[path] for path in sorted(records, key=to_bytes)]


def test_nothing_stays_of_what_was_removed(empty_redis):
    def keys() -> set[bytes]:
        with empty_redis.client() as client:
            return set(client.keys("*"))

    with open_store(empty_redis.url) as store:
        put(store, random_records(1, CLASSES).values())
        assert len(keys()) > 20
        store.apply("d", "me", [Change(name) for name in store.photo_names("d", b"", 1000)])
        assert keys() == {b"facekit:store", b"facekit:datasets", b"facekit:d:meta"}


def test_documents_are_those_that_are_documented(empty_redis, tmp_path):
    records = random_records(1)
    record = next(r for r in records.values() if r.faces is not None and len(r.faces) == 7)
    with open_store(empty_redis.url) as store, empty_redis.client() as client:
        put(store, [record])
        images = [json.loads(client.get(key)) for key in client.keys("facekit:d:image:*")]
        faces = [json.loads(client.get(key)) for key in client.keys("facekit:d:annotation:*")]
        category = json.loads(client.get("facekit:d:category:face"))
    assert {*images[0]} - {"file_name_hex"} == {
        "id", "width", "height", "channels", "file_name", "folder", "faces",
    }  # fmt: skip
    assert len(faces) == 7
    for face in faces:
        assert face["image_id"] == images[0]["id"]
        assert face["id"] == f"{images[0]['id']}:{face['number']}"
        assert face["category_id"] == category["id"] == 1
        assert len(face["keypoints"]) == 3 * len(category["keypoints"]) == 3 * 68
        assert len(face["segmentation"][0]) == 2 * 68
        assert face["area"] == pytest.approx(face["bbox"][2] * face["bbox"][3], abs=0.001)


def test_two_runs_at_once(empty_redis):
    """Two datasets fill side by side; of two runs of one dataset, the later one stays."""
    every = [list(random_records(seed).values()) for seed in range(3)]
    failures: list[Exception] = []

    def fill(number: int, dataset: str) -> None:
        try:
            with open_store(empty_redis.url) as store:
                for _ in range(5):
                    put(store, every[number], dataset, str(number))
        except StoreError as error:
            failures.append(error)

    work = [(0, "one"), (1, "two"), (1, "shared"), (2, "shared")]
    threads = [threading.Thread(target=fill, args=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) <= 2
    assert all(
        "another run has taken over the dataset shared" in str(error)
        or "another run began meanwhile" in str(error)
        for error in failures
    )
    with open_store(empty_redis.url) as store:
        check(store, "one", every[0])
        check(store, "two", every[1])
        # Whatever the two left, one more run makes it whole.
        gone = [Change(name) for name in store.photo_names("shared", b"", 1000)]
        store.begin("shared", str(FOLDER), "2")
        store.apply("shared", "2", gone)
        put(store, every[2], "shared", "2")
        check(store, "shared", every[2])


def test_a_connection_that_is_lost_in_a_batch_changes_nothing_or_all(empty_redis, monkeypatch):
    records = random_records(1)
    with open_store(empty_redis.url) as store, empty_redis.client() as client:
        put(store, [])
        real = redis.client.Pipeline.multi

        def cut(self):
            real(self)
            client.client_kill_filter(_type="normal", skipme=True)

        with monkeypatch.context() as patch:
            patch.setattr(redis.client.Pipeline, "multi", cut)
            with pytest.raises(StoreUnavailableError):
                store.apply("d", "me", [changed(record) for record in records.values()])
        check(store, "d", [])
        put(store, records.values())
        check(store, "d", records.values())


def test_addresses_that_are_no_use(empty_redis, tmp_path):
    port = empty_redis.port
    for url, reason, kind in (
        ("redis://:secret@127.0.0.1:1/0", "does not answer", StoreUnavailableError),
        (f"redis://:secret@127.0.0.1:{port}/99", "index is out of range", StoreError),
        (f"redis://:secret@127.0.0.1:{port}x/0", "is not an address", StoreError),
        (f"redis://:secret@127.0.0.1:{port}/mine", "is not an address", StoreError),
        (f"redis://:secret@127.0.0.1:{port}/0/1", "is not an address", StoreError),
        (f"redis://:secret@127.0.0.1:{port}/0?color=red", "is not an address", StoreError),
        (f"rediss://:secret@127.0.0.1:{port}/0?ssl_cert_reqs=x", "Certificate", StoreError),
        (f"unix://:secret@{tmp_path}/none.sock", "does not answer", StoreUnavailableError),
    ):
        with pytest.raises(kind, match=reason) as caught:
            open_store(url)
        assert "secret" not in str(caught.value)
        assert "***" in str(caught.value)


def test_passwords(tmp_path):
    server = RedisServer(tmp_path, "--requirepass", "secret")
    try:
        server.start("secret")
        for wrong in ("", ":wrong@"):
            with pytest.raises(StoreError, match="the name or password is refused") as caught:
                open_store(server.url.replace("://", f"://{wrong}"))
            assert "wrong" not in str(caught.value)
            assert not isinstance(caught.value, StoreUnavailableError)
        records = random_records(1)
        with open_store(server.url.replace("://", "://:secret@")) as store:
            assert store.name == server.url.replace("://", "://:***@")
            put(store, records.values())
            check(store, "d", records.values())
    finally:
        server.kill()


def test_a_socket_file(tmp_path):
    server = RedisServer(tmp_path, "--unixsocket", str(tmp_path / "r.sock"))
    try:
        server.start()
        with open_store(f"unix://{tmp_path}/r.sock") as store:
            put(store, [])
        with open_store(server.url, create=False) as store:
            check(store, "d", [])
    finally:
        server.kill()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program")
def test_an_encrypted_connection(tmp_path):
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        " -subj /CN=ignored -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"--tls-port {port} --tls-cert-file cert.pem --tls-key-file key.pem"
    server = RedisServer(tmp_path, *options.split(), "--tls-auth-clients", "no")
    records = random_records(1)
    try:
        server.start()
        url = f"rediss://127.0.0.1:{port}/0"
        with open_store(f"{url}?ssl_ca_certs={tmp_path}/cert.pem") as store:
            assert store.name == url
            put(store, records.values())
            check(store, "d", records.values())
        # A certificate that nobody vouches for.
        with pytest.raises(StoreUnavailableError, match="certificate verify failed"):
            open_store(url)
    finally:
        server.kill()


def test_options_of_an_address_that_change_answers(empty_redis, tmp_path):
    records = random_records(1)
    for option in ("decode_responses=true", "encoding=utf-16", "protocol=3"):
        with open_store(f"{empty_redis.url}?{option}") as store:
            put(store, records.values())
            check(store, "d", records.values())


def test_another_version_and_an_empty_database(empty_redis):
    with pytest.raises(StoreError, match="does not contain results of facekit"):
        open_store(empty_redis.url, create=False)
    with empty_redis.client() as client:
        assert client.keys("*") == []
    open_store(empty_redis.url).close()
    with empty_redis.client() as client:
        client.hset("facekit:store", "version", 7)
    with pytest.raises(StoreError, match="version 7, not 1"):
        open_store(empty_redis.url)
    with empty_redis.client() as client:
        client.hset("facekit:store", mapping={"version": 1, "documents": "json"})
    with pytest.raises(StoreError, match="need Redis' JSON module, which is missing now"):
        open_store(empty_redis.url)


def test_a_full_server_changes_nothing(empty_redis):
    records = random_records(1)
    with open_store(empty_redis.url) as store, empty_redis.client() as client:
        put(store, [])
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(StoreUnavailableError, match="maxmemory") as caught:
                store.apply("d", "me", [changed(record) for record in records.values()])
            assert len(str(caught.value)) < 200
            check(store, "d", [])
        finally:
            client.config_set("maxmemory", "0")
        put(store, records.values())
        check(store, "d", records.values())


def test_the_questions_of_one_dataset_do_not_walk_all_keys(empty_redis):
    with open_store(empty_redis.url) as store, empty_redis.client() as client:
        put(store, random_records(1).values())
        client.config_resetstat()
        put(store, random_records(2).values())
        answers(store, "d")
        used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
    assert not used & {"keys", "scan", "zscan", "hscan", "sscan"}


def test_without_modules_documents_are_texts(empty_redis):
    with open_store(empty_redis.url) as store, empty_redis.client() as client:
        assert client.hget("facekit:store", "documents") == b"text"
        assert store._has("GET")  # as it would a module's command
