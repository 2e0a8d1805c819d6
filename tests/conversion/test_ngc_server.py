"""The play NGC as a program, as the tests with containers start it."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.conversion.downloads import NETWORK, write_files

URL = "/v2/models/nvidia/tao/facenet/versions/pruned_quantized_v2.0.1/files/model.etlt"


def test_server_as_a_program_says_where_it_is_and_logs_what_it_was_asked(tmp_path: Path) -> None:
    files, log = write_files(tmp_path / "ngc"), tmp_path / "log"
    script = tmp_path / "script.json"
    script.write_text('{"redirect": false}')
    command = [sys.executable, "-m", "tests.fakes.ngc_server", "--files", str(files)]
    command += ["--script", str(script), "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            url = json.loads(server.stdout.readline())["url"]
            request = urllib.request.Request(url + URL, headers={"Authorization": "Bearer key"})
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.read() == NETWORK
        finally:
            server.terminate()
    assert server.returncode == 0
    entry = json.loads(log.read_text())
    assert entry["on"] == "api" and entry["path"] == URL
    assert entry["headers"]["Authorization"] == "Bearer key"
