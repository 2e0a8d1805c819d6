"""``scripts/setup`` on machines with other Pythons, and ``run_uv.py``; uv is a script of the test.

``tests/docker/test_fresh_machine.py`` has the real uv on a bare Debian 13.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Notes its arguments and the variables that pip's settings become; makes environments of links.
FAKE_UV = """#!/bin/bash
if [ "$1" = --version ]; then echo "uv 0.13.9 (test)"; exit; fi
env | grep -E '^(UV_|SSL_|ALL_PROXY)' | sort | sed 's/^/variable: /' >>"$UV_LOG"
echo "uv $*" >>"$UV_LOG"
if [ -e "$UV_LOG.slow" ]; then sleep 60; fi
target="${!#}"
if [ "$1" = venv ]; then
  case " $* " in
    *" --managed-python "*)
      if [ -n "${NO_DOWNLOADS:-}" ]; then echo "no route to the archive" >&2; exit 2; fi
      python=REAL ;;
    *) while [ "$1" != --python ]; do shift; done; python=$2 ;;
  esac
  mkdir -p "$target/bin" "$target/lib"
  ln -sfn "$python" "$target/bin/python"
  touch "$target/pyvenv.cfg"
fi
"""


@dataclass
class Machine:
    """A clone, and a PATH with the Pythons of a machine."""

    folder: Path
    clone: Path
    index: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def venv(self) -> Path:
        return self.clone / ".venv"

    def python(self, name: str, version: str, *, library: bool = True) -> Path:
        """Add a Python that reports another version, and has its shared library or not."""
        site = self.folder / f"site-{name}"
        site.mkdir()
        numbers = ", ".join(version.split("."))
        code = f"import sys\nsys.version_info = ({numbers}, 'final', 0)\n"
        (site / "sitecustomize.py").write_text(code, "utf-8")
        path = self.folder / "bin" / name
        path.write_text(
            f"""#!/bin/bash
case "$*" in
  *libpython.py*) exit {int(not library)} ;;
  *sys.executable*) echo '{path}'; exit ;;
  --version) echo "Python {version}"; exit ;;
esac
if [ "$1" = -I ]; then shift; fi
PYTHONPATH='{site}' exec '{sys.executable}' "$@"
""",
            "utf-8",
        )
        path.chmod(0o755)
        return path

    def start(self, *extras: str) -> subprocess.Popen[str]:
        tools = self.folder / "bin"
        return subprocess.Popen(
            [str(self.clone / "scripts/setup"), *extras],
            env={
                "PATH": str(tools),
                "HOME": str(self.folder / "home"),
                "UV_LOG": str(self.folder / "uv.log"),
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_INDEX_URL": self.index.as_uri(),
                "XDG_CACHE_HOME": str(self.folder / "cache"),
                **self.variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def setup(self, *extras: str) -> tuple[int, str]:
        process = self.start(*extras)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def log(self) -> list[str]:
        path = self.folder / "uv.log"
        return path.read_text("utf-8").splitlines() if path.exists() else []

    def commands(self) -> list[str]:
        return [line for line in self.log() if line.startswith("uv ")]

    def variable(self, name: str) -> str | None:
        start = f"variable: {name}="
        return next((line[len(start) :] for line in self.log() if line.startswith(start)), None)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine without any Python, with a space in every path."""
    folder = tmp_path / "a machine"
    clone = folder / "a clone"
    shutil.copytree(ROOT / "scripts", clone / "scripts")
    (clone / "facekit" / "serving").mkdir(parents=True)
    shutil.copy(ROOT / "facekit/serving/libpython.py", clone / "facekit/serving")
    shutil.copy(ROOT / "pyproject.toml", clone)
    (folder / "bin").mkdir()
    (folder / "home").mkdir()
    for tool in ("bash", "env", "sed", "grep", "cksum", "realpath", "mkdir", "ls", "touch", "rm",
                 "flock", "dirname", "ln", "sort", "sleep", "cp", "cat", "awk"):  # fmt: skip
        found = shutil.which(tool, path="/usr/local/bin:/usr/bin:/bin")
        assert found is not None
        (folder / "bin" / tool).symlink_to(found)
    index = folder / "index"
    write_index(index)
    return Machine(folder, clone, index)


def write_index(folder: Path) -> None:
    """Write a package index with two wheels of uv for this machine, and others not to be taken."""
    page = folder / "uv"
    page.mkdir(parents=True)
    libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    tag = f"{libc}_2_17_{platform.machine()}"
    script = FAKE_UV.replace("REAL", sys.executable)
    lines = []
    for version, code, more in (
        ("0.13.2", "exit 3", ""),
        ("0.13.9", script, ""),
        ("0.13.10", "exit 3", 'data-yanked=""'),
        ("0.9.1", "exit 3", ""),
        ("1.0.0", "exit 3", ""),
    ):
        wheel = page / f"uv-{version}-py3-none-{tag}.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"uv-{version}.data/scripts/uv", code)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f'<a href="{wheel.name}#sha256={digest}" {more}>{wheel.name}</a>')
    lines.append(f'<a href="uv-0.13.11-py3-none-win_amd64.whl#sha256={"0" * 64}">windows</a>')
    (page / "index.html").write_text("\n".join(lines), "utf-8")


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves an index to those who know the password; notes the requests."""

    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.path = self.path.removeprefix("http://index.test")
        if self.headers.get("Authorization") != "Basic dXNlcjpwYXNz":  # user:pass
            self.send_error(401)
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(machine: Machine) -> Iterator[tuple[int, list[str]]]:
    """Serve the machine's index; yield the port and the list of requests."""
    requests: list[str] = []
    handler = type("Handler", (_Handler,), {"requests": requests})
    bound = functools.partial(handler, directory=str(machine.index))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), bound) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield listener.server_port, requests
        listener.shutdown()


def test_a_system_python_is_taken_newest_first(machine: Machine) -> None:
    machine.python("python3", "3.13.2")
    machine.python("python3.11", "3.11.4")
    chosen = machine.python("python3.12", "3.12.4")

    code, output = machine.setup("server,demo")

    assert code == 0, output
    venv, install = machine.commands()
    assert venv.startswith("uv venv --quiet --seed") and f"--python {chosen} " in venv
    assert install == "uv pip install --python .venv/bin/python --editable .[server,demo]"
    assert "making .venv with Python 3.12.4" in output
    assert "1.6 GB on disk, with NVIDIA DALI" in output


@pytest.mark.parametrize("version", ["3.13.5", "3.14.0", "3.15.1", "3.9.2"])
def test_other_pythons_only_start_uv_which_gets_one(machine: Machine, version: str) -> None:
    machine.python("python3", version)

    code, output = machine.setup("server")

    assert code == 0, output
    [line] = [line for line in output.splitlines() if "getting CPython 3.12 through uv" in line]
    assert line.startswith("setup: no Python 3.10 to 3.12 with its shared library here")
    assert "--managed-python --python 3.12 .venv" in machine.commands()[0]
    assert machine.variable("UV_PYTHON_INSTALL_DIR") == str(machine.clone / ".venv-uv/python")


def test_a_python_without_its_shared_library_is_not_taken(machine: Machine) -> None:
    machine.python("python3", "3.11.2", library=False)

    code, output = machine.setup()

    assert code == 0, output
    assert "--managed-python" in machine.commands()[0]


def test_where_no_python_can_be_downloaded_the_remedy_is_named(machine: Machine) -> None:
    machine.python("python3", "3.14.0")
    machine.variables["NO_DOWNLOADS"] = "1"

    code, output = machine.setup()

    assert code == 1
    assert "no route to the archive" in output
    assert "install a Python of 3.10 to 3.12, or name one in FACEKIT_PYTHON" in output


def test_debians_library_replaces_a_download_that_fails(machine: Machine) -> None:
    machine.python("python3", "3.11.2", library=False)
    machine.variables["NO_DOWNLOADS"] = "1"
    log = machine.folder / "apt.log"
    for name, code in {
        "apt-get": f'echo "$*" >>"{log}"; case "$*" in *download*) > "libpython3.11.deb" ;; esac',
        "dpkg-deb": 'mkdir -p "$3/usr/lib/machine"; > "$3/usr/lib/machine/libpython3.11.so.1.0"',
    }.items():
        (machine.folder / "bin" / name).write_text(f"#!/bin/bash\n{code}\n", "utf-8")
        (machine.folder / "bin" / name).chmod(0o755)

    code, output = machine.setup()

    assert code == 0, output
    assert (machine.venv / "lib/libpython3.11.so.1.0").is_file()
    assert "download libpython3.11" in log.read_text("utf-8")
    # Nothing of the system is written: the lists and the cache lie in the clone.
    assert all(f"Dir::Cache={machine.clone}" in line for line in log.read_text().splitlines())


def test_facekit_python_overrides_and_must_be_usable(machine: Machine) -> None:
    machine.python("python3.12", "3.12.4")
    given = machine.python("other", "3.13.1")

    machine.variables["FACEKIT_PYTHON"] = str(given)
    code, output = machine.setup("train")
    assert code == 0, output
    assert f"--python {given} " in machine.commands()[0]

    shutil.rmtree(machine.venv)
    machine.variables["FACEKIT_PYTHON"] = str(machine.python("old", "3.8.1"))
    code, output = machine.setup("train")
    assert code == 1 and "old is not a Python of 3.10 to 3.13" in output


def test_without_any_python_setup_says_so(machine: Machine) -> None:
    code, output = machine.setup()
    assert code == 1 and "there is no Python: install python3" in output


def test_a_second_run_installs_only_what_is_missing(machine: Machine) -> None:
    machine.python("python3.12", "3.12.4")
    machine.setup("server")

    assert machine.setup("server") == (0, "")
    code, output = machine.setup("server,demo")
    assert code == 0, output
    assert machine.commands()[-1].endswith(".[demo]") and len(machine.commands()) == 3
    machine.setup("test")
    assert machine.setup("convert,demo") == (0, "")

    with (machine.clone / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert "installing facekit-triton[server]" in machine.setup("server")[1]


@pytest.mark.parametrize("extras", ["nope", "server,nope", "nope,server"])
def test_an_unknown_extra_is_refused_before_anything_is_made(machine: Machine, extras: str) -> None:
    machine.python("python3.12", "3.12.4")

    code, output = machine.setup(extras)

    assert code == 1
    assert output.startswith("setup: nope is not an extra of facekit-triton; those are: server, ")
    assert output.endswith(", workflow-test, browser-test, dev\n")
    assert not machine.venv.exists() and machine.commands() == []


def test_an_editable_installation_puts_the_clone_on_pythons_path(tmp_path: Path) -> None:
    """Beside a clone that is named facekit, its folder is a namespace package to other finders."""
    clone = tmp_path / "facekit"
    (clone / "facekit").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    (clone / "facekit/__init__.py").write_text("class Client: ...\n", "utf-8")
    site = tmp_path / "site"
    site.mkdir()
    subprocess.run(
        [sys.executable, "-c",
         "from setuptools import build_meta as backend; backend.build_editable('../site')"],
        cwd=clone, check=True, capture_output=True,
    )  # fmt: skip
    [wheel] = site.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)

    code = f"import site; site.addsitedir({str(site)!r}); from facekit import Client"
    subprocess.run([sys.executable, "-S", "-c", code], cwd=tmp_path, check=True)


def test_a_run_that_was_cut_off_is_made_anew_with_all_that_was_there(machine: Machine) -> None:
    machine.python("python3.12", "3.12.4")
    machine.setup("server")
    slow = machine.folder / "uv.log.slow"
    slow.touch()
    for _ in range(2):  # the second time while the environment is made
        count = len(machine.commands())
        process = machine.start("train")
        deadline = time.monotonic() + 30
        while len(machine.commands()) == count and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    slow.unlink()

    code, output = machine.setup("train")

    assert code == 0, output
    assert "--clear" in machine.commands()[-2]
    assert machine.commands()[-1].endswith("--editable .[train,server]")
    assert machine.setup("server,train") == (0, "")


def test_a_second_setup_waits_for_the_first(machine: Machine) -> None:
    machine.python("python3.12", "3.12.4")
    lock = machine.clone / ".venv-uv" / "lock"
    lock.parent.mkdir()
    with subprocess.Popen(
        ["flock", str(lock), "sh", "-c", "echo held; read line"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdin is not None and holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        process = machine.start("server")
        assert process.stdout is not None
        assert "waiting for another set-up" in process.stdout.readline()
        assert machine.commands() == []
        holder.stdin.write("\n")
        holder.stdin.close()
        process.communicate(timeout=60)
        assert process.returncode == 0 and len(machine.commands()) == 2


def test_a_folder_that_is_not_an_environment_is_left_alone(machine: Machine) -> None:
    machine.python("python3.12", "3.12.4")
    machine.venv.mkdir()
    (machine.venv / "letters.txt").write_text("kept", "utf-8")

    for _ in range(2):
        code, output = machine.setup()
        assert code == 1 and ".venv is not a Python environment" in output
    assert (machine.venv / "letters.txt").read_text("utf-8") == "kept"


def test_uvs_errors_are_passed_on(machine: Machine) -> None:
    machine.python("python3.12", "3.12.4")
    shutil.rmtree(machine.index)

    code, output = machine.setup()

    assert code == 1
    assert "setup: cannot get uv from pip's package index: no wheel of uv 0.13 or later" in output
    assert f"{machine.index.as_uri()}/uv/" in output and "No such file" in output


def test_a_damaged_wheel_is_refused(machine: Machine) -> None:
    machine.python("python3.12", "3.12.4")
    [wheel] = (machine.index / "uv").glob("uv-0.13.9-*.whl")
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")

    code, output = machine.setup()

    assert code == 1 and "is damaged: its SHA-256 is not" in output
    assert not (machine.clone / ".venv-uv/uv").exists()


def test_pips_settings_reach_uv_and_uvs_own_go_first(machine: Machine) -> None:
    machine.python("python3.12", "3.12.4")
    config = machine.folder / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://wrong.test/simple\ntimeout = 60\n"
        "[install]\nextra_index_url = https://a.test/simple\n  https://b.test/simple\n"
        "trusted-host = a.test b.test\nconstraint = /one.txt /two.txt\nfind-links = /wheels /more\n"
    )
    certificate = machine.folder / "client.pem"
    machine.variables |= {
        "PIP_CONFIG_FILE": str(config),
        "PIP_CLIENT_CERT": str(certificate),
        "PIP_PROXY": "http://proxy.test:3128",
        "UV_HTTP_TIMEOUT": "7",
    }
    # The uv that is on the machine is taken: what is asked here are its variables.
    program = machine.folder / "bin" / "uv"
    program.write_text(FAKE_UV.replace("REAL", sys.executable), "utf-8")
    program.chmod(0o755)

    code, output = machine.setup()

    assert code == 0, output
    found = {
        name: machine.variable(name)
        for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INSECURE_HOST", "UV_CONSTRAINT",
                     "UV_FIND_LINKS", "UV_HTTP_TIMEOUT", "SSL_CLIENT_CERT", "ALL_PROXY",
                     "UV_INDEX_STRATEGY")
    }  # fmt: skip
    assert found == {
        "UV_DEFAULT_INDEX": machine.index.as_uri(),
        "UV_INDEX": "https://a.test/simple https://b.test/simple",
        "UV_INSECURE_HOST": "a.test b.test",
        "UV_CONSTRAINT": "/one.txt /two.txt",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_HTTP_TIMEOUT": "7",
        "SSL_CLIENT_CERT": str(certificate),
        "ALL_PROXY": "http://proxy.test:3128",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert not (machine.clone / ".venv-uv/uv").exists()


@pytest.mark.parametrize("setting", ["http_proxy", "PIP_PROXY"])
def test_uv_comes_through_a_proxy_with_the_indexs_password(
    machine: Machine, server: tuple[int, list[str]], setting: str
) -> None:
    machine.python("python3.12", "3.12.4")
    port, requests = server
    machine.variables[setting] = f"http://127.0.0.1:{port}"
    machine.variables["PIP_INDEX_URL"] = "http://user:pass@index.test/"

    code, output = machine.setup()

    assert code == 0, output
    assert requests[0] == "http://index.test/uv/" and len(requests) == 2
    assert "pass@" not in output


def test_a_refused_password_shows_no_credentials(
    machine: Machine, server: tuple[int, list[str]]
) -> None:
    machine.python("python3.12", "3.12.4")
    machine.variables["PIP_INDEX_URL"] = f"http://user:wrong@127.0.0.1:{server[0]}/"

    code, output = machine.setup()

    assert code == 1 and "HTTP Error 401" in output and "wrong" not in output


@pytest.mark.parametrize("cache", ["file/cache", ""])
def test_a_read_only_home_gets_a_cache_in_the_clone(machine: Machine, cache: str) -> None:
    machine.python("python3.12", "3.12.4")
    blocked = machine.folder / "file"
    blocked.touch()
    # An empty variable counts as none.
    named = str(machine.folder / cache) if cache else ""
    machine.variables |= {"HOME": str(blocked), "XDG_CACHE_HOME": named}

    code, output = machine.setup()

    assert code == 0, output
    assert machine.variable("UV_SYSTEM_CERTS") == "1"
    assert machine.variable("UV_CACHE_DIR") == str(machine.clone / ".venv-uv/cache")
