"""Look at a run meanwhile: a window, or a page for a browser on this machine."""

from __future__ import annotations

import io
import ipaddress
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

from facekit.closing import Closing
from facekit.errors import ConfigError, SetupError
from facekit.video.source import Pixels

_BOUNDARY = "facekit-frame"
_PAGE = b"<!doctype html><title>facekit video</title><body><img src='/stream' alt='the video'>"
_QUALITY = 80


class Window(Closing):
    """A window with the newest frame; closing it ends the run as Ctrl-C does.

    Raises:
        SetupError: There is no display, or Python has no Tk.
    """

    def __init__(self) -> None:
        try:
            import tkinter
        except ImportError as error:
            raise SetupError(
                "--show: this Python has no tkinter; install python3-tk, or use --mjpeg"
            ) from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise SetupError(f"--show: there is no display ({error}); use --mjpeg") from error
        self._root.title("facekit video")
        self._picture: Any = None
        self._label = tkinter.Label(self._root)
        self._label.pack()
        self._open = True
        self._root.protocol("WM_DELETE_WINDOW", self._end)
        self._make = tkinter.PhotoImage

    def _end(self) -> None:
        self._open = False

    def show(self, pixels: Pixels) -> None:
        """Show a frame: uint8 (H, W, 3). Raises KeyboardInterrupt once the window is closed."""
        height, width = pixels.shape[:2]
        data = b"P6 %d %d 255\n" % (width, height) + pixels.tobytes()
        self._picture = self._make(data=data, format="PPM")
        self._label.configure(image=self._picture)
        self._root.update()
        if not self._open:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Close the window."""
        self._root.destroy()


class MjpegServer(Closing):
    """Serves the newest frames as motion JPEG to browsers on this machine.

    Args:
        address: ``HOST:PORT``; the host is ``localhost`` or a loopback address, port 0 any free
            one.

    Attributes:
        url: The page's address.

    Raises:
        ConfigError: The address is wrong, or other machines could reach it.
        SetupError: The port is in use.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        host = "127.0.0.1" if host == "localhost" else host
        if not port.isdecimal() or int(port) > 65535 or not _is_loopback(host):
            raise ConfigError(
                f"--mjpeg: expected localhost or a loopback address and a port, such as "
                f"localhost:8090, got {address}; anyone who reaches it sees the video"
            )
        self._newest: tuple[int, Pixels | None] = (0, None)
        self._changed = threading.Condition()
        self._closed = False
        try:
            self._server = ThreadingHTTPServer((host, int(port)), self._handler())
        except OSError as error:
            raise SetupError(f"--mjpeg: {address}: {error.strerror or error}") from error
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def show(self, pixels: Pixels) -> None:
        """Publish a frame: uint8 (H, W, 3)."""
        with self._changed:
            self._newest = self._newest[0] + 1, pixels
            self._changed.notify_all()

    def close(self) -> None:
        """End all connections."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _next(self, seen: int) -> tuple[int, Pixels | None]:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._newest[0] > seen)
            return (0, None) if self._closed else self._newest

    def _handler(view: MjpegServer) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                # A page of elsewhere whose name leads here must not read the video.
                name = self.headers.get("Host", "").rpartition(":")[0].strip("[]")
                if name != "localhost" and not _is_loopback(name):
                    self.send_error(403, "Open this page by localhost")
                elif self.path == "/stream":
                    self._stream()
                elif self.path == "/":
                    self._begin("text/html; charset=utf-8")
                    self.wfile.write(_PAGE)
                else:
                    self.send_error(404)

            def _begin(self, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Cache-Control", "no-store")
                self.end_headers()

            def _stream(self) -> None:
                self._begin(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
                seen = 0
                try:
                    while True:
                        seen, pixels = view._next(seen)
                        if pixels is None:
                            return
                        file = io.BytesIO()
                        Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY)
                        data = file.getvalue()
                        head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: "
                        self.wfile.write(f"{head}{len(data)}\r\n\r\n".encode() + data + b"\r\n")
                except OSError:
                    pass  # the browser has gone

            def log_message(self, *_: Any) -> None:
                """Write no line a request."""

        return Handler


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
