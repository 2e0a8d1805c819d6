"""The temporary folder of one server: log, names in shared memory, backend directory."""

import contextlib
import os
import secrets
import shutil
import sys
import sysconfig
from pathlib import Path

from facekit.files import lock_file
from facekit.serving.installation import Installation
from facekit.serving.paths import Links, is_plain, run_folder
from facekit.shared_pages import PREFIX

PACKAGE = Path(__file__).resolve().parent.parent
_SHM = Path("/dev/shm")
_FOLDER_PREFIX = "facekit-server-"
_UTILITIES = "triton_python_backend_utils.py"
_STAND_INS = ("dali", "onnxruntime")


class Runtime:
    """What any server needs on disk and in shared memory; ``remove`` takes all of it away.

    Its folder is made in ``parent``; by default where temporary files go.
    """

    def __init__(self, parent: Path | None = None) -> None:
        remove_stale()
        parent = parent or run_folder(executable=False)
        # The lock is held while this process lives; a later start removes the folders of others.
        # It is written before the folder is made, so that no moment leaves a folder without one. A
        # process id would not do: containers may share /dev/shm and not their process ids.
        self._handle, self._lock = _new_lock()
        self.shm_prefix = self._lock.stem
        self.folder = parent / f"{_FOLDER_PREFIX}{_token()}"
        try:
            os.write(self._handle, os.fsencode(self.folder))
            self.folder.mkdir(mode=0o700)
        except BaseException:
            Runtime.remove(self)
            raise
        self.default_log = self.folder / "server.log"
        self.models = self.folder / "models"
        self.links = Links(self.folder / "links")

    def environment(self) -> dict[str, str]:
        """Return the environment of the server and of its backend processes."""
        values = dict(os.environ)
        # The stub takes its Python home, and so the virtual environment, from the first `python3`.
        values["PATH"] = joined([str(self._python_folder()), values.get("PATH", "")])
        # Post-processing works on small arrays: threads of NumPy's libraries would only take the
        # cores away from the decoder and the network.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            values.setdefault(name, "1")
        # By default glibc gives memory back to the kernel after every request and takes it again,
        # page by page, at the next.
        values.setdefault("MALLOC_MMAP_THRESHOLD_", str(8 * 2**20))
        values.setdefault("MALLOC_TRIM_THRESHOLD_", str(32 * 2**20))
        values.setdefault("MALLOC_ARENA_MAX", "2")
        return values

    def remove(self) -> None:
        """Delete the folder and what the server may have left in shared memory."""
        _remove(self.folder, self._lock)
        os.close(self._handle)

    def _python_folder(self) -> Path:
        """Return the folder of a ``python3`` that is this one, with a plain path."""
        folder = Path(sys.executable).parent
        if is_plain(folder) and is_plain(sys.base_prefix):
            return folder
        # A virtual environment of links: Python reads the path of its home as UTF-8, which a
        # backend process cannot encode.
        home = self.links.plain(Path(sys.base_prefix))
        environment = self.folder / "python"
        packages = environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        if not environment.exists():
            (environment / "bin").mkdir(parents=True)
            (environment / "bin" / "python3").symlink_to(home / "bin" / "python3")
            (environment / "pyvenv.cfg").write_text(f"home = {home}/bin\n", "utf-8")
            packages.mkdir(parents=True)
            # With its .pth files, such as those of editable packages.
            (packages / "site-packages").symlink_to(sysconfig.get_path("purelib"))
        return environment / "bin"


class EmbeddedRuntime(Runtime):
    """What the embedded server needs besides: a backend directory of its own."""

    def __init__(self, installation: Installation) -> None:
        super().__init__(run_folder(executable=True))
        self._installation = installation
        self.backends = self.folder / "backends"
        self._lifeline = self.folder / "lifeline"
        self._lifeline_end = -1
        try:
            os.mkfifo(self._lifeline)
            # Open for both, so that it does not wait for a reader; it closes when this process
            # ends.
            self._lifeline_end = os.open(self._lifeline, os.O_RDWR | os.O_NONBLOCK)
            self._fill_backends()
        except BaseException:
            self.remove()
            raise

    def _fill_backends(self) -> None:
        python = self.backends / "python"
        python.mkdir(parents=True)
        source = self._installation.python_backend
        # Copies: the server refuses a library that a link leads out of the folder, and it sets the
        # stub's execute bit at every load, in a wheel that may be another user's or read-only.
        shutil.copyfile(source / "libtriton_python.so", python / "libtriton_python.so")
        utilities = (source / _UTILITIES).read_text("utf-8")
        code = _search_path_code(self.links) + _lifeline_code(self._lifeline) + utilities
        (python / _UTILITIES).write_text(code, "utf-8")
        stub = self._installation.stub
        shutil.copyfile(stub, python / stub.name)
        (python / stub.name).chmod(0o755)
        # This folder is on every backend process's search path from the start.
        (python / PACKAGE.name).symlink_to(PACKAGE)
        for name in _STAND_INS:
            (self.backends / name).mkdir()
            shutil.copyfile(
                PACKAGE / "backends" / name / "model.py", self.backends / name / "model.py"
            )

    def environment(self) -> dict[str, str]:
        """Return the environment of the server and of its backend processes."""
        values = super().environment()
        libraries = [str(self.links.plain(path)) for path in self._installation.library_dirs]
        values["LD_LIBRARY_PATH"] = joined([*libraries, values.get("LD_LIBRARY_PATH", "")])
        return values

    def remove(self) -> None:
        """Delete the folder and what the server may have left in shared memory."""
        if self._lifeline_end >= 0:
            os.close(self._lifeline_end)
        super().remove()


def remove_stale() -> None:
    """Remove what processes left behind that were killed before they could."""
    for lock in _SHM.glob(f"{PREFIX}*.lock"):
        try:
            handle = lock_file(lock)
        except OSError:  # its process is alive, or it is another user's
            continue
        try:
            _remove(Path(os.fsdecode(os.read(handle, 4096))), lock)
        finally:
            os.close(handle)


def _new_lock() -> tuple[int, Path]:
    while True:
        lock = _SHM / f"{PREFIX}{_token()}.lock"
        # Another process's `remove_stale` may take it for a dead one's before it is locked here.
        with contextlib.suppress(BlockingIOError):
            handle = lock_file(lock)
            os.fchmod(handle, 0o600)
            return handle, lock


def _token() -> str:
    return secrets.token_hex(6)


def _remove(folder: Path, lock: Path) -> None:
    if folder.name.startswith(_FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
    for path in _SHM.glob(f"{lock.stem}*"):
        if path != lock:
            path.unlink(missing_ok=True)
    lock.unlink(missing_ok=True)


def joined(parts: list[str]) -> str:
    """Return a search path of the parts that are not empty."""
    return os.pathsep.join(part for part in parts if part)


def _search_path_code(links: Links) -> str:
    """Return Python code that makes this process's packages importable in a backend process.

    The stub runs Python isolated: PYTHONPATH, the user's site folder and the working directory do
    not count, only the folders of the Python it finds. Every model imports the utilities.
    """
    paths = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    paths += [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    paths += [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    folders = dict.fromkeys([PACKAGE.parent, *(Path(path).absolute() for path in paths)])
    known = [str(links.plain(folder)) for folder in folders]
    return f"import sys\n\nsys.path += [path for path in {known!r} if path not in sys.path]\n\n"


def _lifeline_code(lifeline: Path) -> str:
    """Return Python code that makes a backend process end with this process.

    The stub has a watch of its own, which never comes to run if the server died while the stub
    waited for it. A signal from the kernel needs no thread: it comes when the last writer of the
    pipe is gone.
    """
    return f"""import fcntl
import os
import signal

_lifeline = os.open({str(lifeline)!r}, os.O_RDONLY | os.O_NONBLOCK)
fcntl.fcntl(_lifeline, fcntl.F_SETSIG, signal.SIGKILL)
fcntl.fcntl(_lifeline, fcntl.F_SETOWN, os.getpid())
fcntl.fcntl(_lifeline, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
try:
    # No signal tells of a writer that was gone before the pipe was opened here.
    if not os.read(_lifeline, 1):
        os._exit(1)
except BlockingIOError:
    pass

"""
