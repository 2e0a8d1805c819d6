"""Run uv with pip's settings: ``run_uv.py FOLDER ARGUMENT ...``.

Where the machine has no suitable uv, it is downloaded from the package index that pip is configured
to use, into FOLDER. Uses only the standard library of any Python from 3.7, because
``scripts/setup`` runs it before anything is installed.
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import html.parser
import io
import netrc
import os
import platform
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

# Of these versions the options and variables used here are known.
_OLDEST, _TOO_NEW = (0, 13), (1,)
# Seconds between two lines while uv prints nothing of its own.
_STATUS_S = 5
_DEFAULT_INDEX = "https://pypi.org/simple"
# What pip's settings are called by uv, and what separates several values there.
_NAMES = {
    "index-url": ("UV_DEFAULT_INDEX", ""),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "no-index": ("UV_NO_INDEX", ""),
    "cert": ("SSL_CERT_FILE", ""),
    "client-cert": ("SSL_CLIENT_CERT", ""),
    "timeout": ("UV_HTTP_TIMEOUT", ""),
    "proxy": ("ALL_PROXY", ""),
}


def main(folder: Path, arguments: list[str]) -> int:
    """Run uv and return its exit code.

    The folder holds uv, the Pythons that it downloads and, where home is read-only, its cache.
    """
    settings = pip_settings()
    try:
        program = find_uv(folder) or download_uv(folder, settings)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"setup: cannot get uv from pip's package index: {error}")
    environment = uv_environment(folder, settings)
    # It inherits the lock of scripts/setup, which must hold while uv works.
    with subprocess.Popen([str(program), *arguments], env=environment, close_fds=False) as uv:
        started = time.monotonic()
        while True:
            try:
                return uv.wait(timeout=_STATUS_S)
            except subprocess.TimeoutExpired:
                # On a terminal uv draws its own progress.
                if not sys.stderr.isatty():
                    seconds = time.monotonic() - started
                    sys.stderr.write(f"setup: uv {arguments[0]} runs for {seconds:.0f} s\n")
            except KeyboardInterrupt:  # uv has received it too
                continue


def pip_settings() -> dict[str, str]:
    """Return pip's settings from its configuration files and variables, as pip ranks them."""
    home = Path.home()
    shared = (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    own = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path(entry) / "pip/pip.conf" for entry in shared if entry] + [Path("/etc/pip.conf")]
    named = os.environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        files = []
    else:
        files += [home / ".pip/pip.conf", own / "pip/pip.conf"]
        files += [Path(named)] if named else []
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (OSError, ValueError, configparser.Error) as error:
            sys.exit(f"setup: pip's configuration {file} cannot be read: {error}")
        for section in sections:
            if parser.has_section(section):
                for name, value in parser.items(section):
                    sections[section][name.replace("_", "-")] = value
    variables = {
        name[len("PIP_") :].lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_") and value
    }
    known = {**sections["global"], **sections["install"], **variables}
    if "cert" not in known and os.environ.get("REQUESTS_CA_BUNDLE"):
        known["cert"] = os.environ["REQUESTS_CA_BUNDLE"]
    return known


def uv_environment(folder: Path, settings: dict[str, str]) -> dict[str, str]:
    """Return the environment for uv; its own variables go before pip's settings."""
    values = {
        # As pip does: the best version that any of the indexes has.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_PYTHON_INSTALL_DIR": str(folder / "python"),
    }
    for name, (variable, separator) in _NAMES.items():
        words = settings.get(name, "").split()
        if words:
            values[variable] = separator.join(words) if separator else settings[name].strip()
    if "SSL_CERT_FILE" not in values:
        values["UV_SYSTEM_CERTS"] = "1"
    # A variable that is empty counts as none.
    if not _writable(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"):
        values["UV_CACHE_DIR"] = str(folder / "cache")
    return {**values, **os.environ}


def find_uv(folder: Path) -> Path | None:
    """Return a uv of a suitable version: the one in ``folder``, or one on PATH."""
    for program in (str(folder / "uv"), shutil.which("uv")):
        if program is None or not os.access(program, os.X_OK):
            continue
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        words = done.stdout.split()
        if done.returncode == 0 and len(words) > 1 and _suitable(words[1]):
            return Path(program)
    return None


def download_uv(folder: Path, settings: dict[str, str]) -> Path:
    """Download uv's newest suitable wheel and unpack its program into ``folder``.

    Raises OSError if the index or a file can't be reached or written, and ValueError if no index
    has a wheel for this machine, or it is damaged.
    """
    urls: list[str] = []
    if settings.get("no-index", "").lower() not in ("1", "true", "yes", "on"):
        indexes = [settings.get("index-url", _DEFAULT_INDEX)]
        indexes += settings.get("extra-index-url", "").split()
        urls += [f"{index.strip().rstrip('/')}/uv/" for index in indexes]
    urls += settings.get("find-links", "").split()
    wheels: dict[tuple[int, ...], str] = {}
    failures = []
    for url in urls:
        try:
            wheels.update(_wheels(url, settings))
        except (OSError, ValueError) as error:
            failures.append(f"{_shown(url)}: {error}")
    if not wheels:
        known = "; ".join(failures) or ", ".join(map(_shown, urls))
        raise ValueError(f"no wheel of uv 0.13 or later for {platform.machine()} ({known})")
    url, _, digest = wheels[max(wheels)].partition("#sha256=")
    sys.stderr.write(f"setup: downloading {url.rpartition('/')[2]} (about 25 MB)\n")
    content = _read(url, settings)
    if digest and hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{_shown(url)} is damaged: its SHA-256 is not {digest}")
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        [member] = [name for name in wheel.namelist() if name.endswith(".data/scripts/uv")]
        handle, name = tempfile.mkstemp(prefix="uv.", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(wheel.read(member))
    Path(name).chmod(0o755)
    return Path(name).replace(folder / "uv")


class _Links(html.parser.HTMLParser):
    """Collects the links of an index page that have not been withdrawn."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link."""
        values = dict(attrs)
        if tag == "a" and values.get("href") and "data-yanked" not in values:
            self.found.append(str(values["href"]))


def _wheels(url: str, settings: dict[str, str]) -> dict[tuple[int, ...], str]:
    """Return the URLs of the suitable wheels that a page or a folder lists, by version."""
    local = Path(urllib.parse.unquote(url[len("file://") :] if url.startswith("file:") else url))
    if "://" not in url or (local.is_dir() and not (local / "index.html").is_file()):
        links = [path.absolute().as_uri() for path in local.expanduser().glob("uv-*.whl")]
    else:
        page = url + "index.html" if local.is_dir() else url
        parser = _Links()
        parser.feed(_read(page, settings).decode("utf-8", "replace"))
        links = [urllib.parse.urljoin(_shown(page), link) for link in parser.found]
        links = [_with_credentials(link, page) for link in links]
    libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    found = {}
    for link in links:
        name = urllib.parse.unquote(link.partition("#")[0].rpartition("/")[2])
        parts = name[: -len(".whl")].split("-")
        if parts[0] == "uv" and len(parts) == 5 and name.endswith(".whl") and _suitable(parts[1]):
            if libc in parts[4] and parts[4].endswith(f"_{platform.machine()}"):
                found[_version(parts[1])] = link
    return found


def _read(url: str, settings: dict[str, str]) -> bytes:
    parts = urllib.parse.urlsplit(url)
    context = ssl.create_default_context(cafile=settings.get("cert"))
    if "client-cert" in settings:
        context.load_cert_chain(settings["client-cert"])
    trusted = settings.get("trusted-host", "").split()
    if parts.hostname in trusted or f"{parts.hostname}:{parts.port}" in trusted:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if "proxy" in settings:
        proxies = dict.fromkeys(("http", "https"), settings["proxy"])
        handlers.append(urllib.request.ProxyHandler(proxies))
    request = urllib.request.Request(_shown(url), headers={"Accept": "text/html, */*;q=0.1"})
    user, password = parts.username, parts.password
    if user is None and parts.hostname:
        user, password = _from_netrc(parts.hostname)
    if user is not None:
        pair = f"{urllib.parse.unquote(user)}:{urllib.parse.unquote(password or '')}"
        # Not sent on to another host that the index redirects to.
        request.add_unredirected_header(
            "Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"
        )
    timeout = float(settings.get("timeout", 15))
    with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as answer:
        return bytes(answer.read())


def _from_netrc(host: str) -> tuple[str | None, str | None]:
    try:
        entry = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None, None
    return (entry[0], entry[2]) if entry is not None else (None, None)


def _shown(url: str) -> str:
    """Return a URL without credentials."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _with_credentials(link: str, page: str) -> str:
    """Return a link of a page, with the page's credentials where both are of one host."""
    parts, source = urllib.parse.urlsplit(link), urllib.parse.urlsplit(page)
    if parts.netloc != source.netloc.rpartition("@")[2]:
        return link
    return urllib.parse.urlunsplit(parts._replace(netloc=source.netloc))


def _suitable(version: str) -> bool:
    return version.replace(".", "").isdigit() and _OLDEST <= _version(version) < _TOO_NEW


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute(), sys.argv[2:]))
