"""A web server for one page and one user: on this machine alone, behind a token, with no files.

What it can answer is a table of names and contents made before it starts; no path is ever made of
a request. Every request must name this machine as its host, which keeps pages of other names from
reaching it through the browser (DNS rebinding), and begin with a random token, which keeps other
users and programs of this machine out.
"""

import contextlib
import hmac
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from diffusionblend.errors import OutputError

HOST = "127.0.0.1"
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self' data: blob:; worker-src blob:; font-src data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Resource:
    """What one name answers.

    Attributes:
        kind: Its MIME type.
        make: Makes the bytes, when they are asked for.
    """

    kind: str
    make: Callable[[], bytes]


class Server:
    """The server; `url` is all that a browser needs.

    Args:
        resources: What each name answers, such as "index.html" or "volume/0.nii"; "" is the page.
        port: Port of 127.0.0.1; 0 takes a free one.

    Raises:
        OutputError: The port is taken.
    """

    def __init__(self, resources: Mapping[str, Resource], port: int = 0) -> None:
        self.token = secrets.token_urlsafe(32)
        known = {"resources": resources, "token": self.token}
        handler = type("Handler", (_Handler,), known)
        try:
            self._http = _Threads((HOST, port), handler)
        except OSError as error:
            raise OutputError(
                f"--port {port}: cannot be taken ({error.strerror}); leave it out for a free one"
            ) from error
        self.port = self._http.server_port
        self.url = f"http://{HOST}:{self.port}/{self.token}/"

    def run(self) -> None:
        """Answer until `stop`, or KeyboardInterrupt."""
        try:
            self._http.serve_forever(poll_interval=0.1)
        finally:
            self._http.server_close()

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._http.shutdown()


@contextlib.contextmanager
def serve(resources: Mapping[str, Resource], port: int = 0) -> Iterator[Server]:
    """Run a server in a thread of its own."""
    server = Server(resources, port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a browser that hangs up is no failure."""


class _Handler(BaseHTTPRequestHandler):
    resources: Mapping[str, Resource]
    token: str
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "diffusionblend", ""
    timeout = _TIMEOUT_SECONDS

    def do_GET(self) -> None:
        """Answer with a resource."""
        self._answer(send_body=True)

    def do_HEAD(self) -> None:
        """Answer with the head of a resource."""
        self._answer(send_body=False)

    def _answer(self, send_body: bool) -> None:
        status, resource = self._find()
        body = status.phrase.encode() if resource is None else resource.make()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain" if resource is None else resource.kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if send_body:
            self.wfile.write(body)

    def _find(self) -> tuple[HTTPStatus, Resource | None]:
        port = self.connection.getsockname()[1]
        if self.headers.get_all("Host") not in ([f"{HOST}:{port}"], [f"localhost:{port}"]):
            return HTTPStatus.FORBIDDEN, None
        token, slash, name = self.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return HTTPStatus.FORBIDDEN, None
        resource = self.resources.get(name) if slash else None
        return (HTTPStatus.NOT_FOUND, None) if resource is None else (HTTPStatus.OK, resource)

    def log_message(self, format: str, *args: object) -> None:
        """Write no log: it would hold the token."""
