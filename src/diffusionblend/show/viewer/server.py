"""A server for one page, open only to the browser that was given its address.

It listens on loopback alone. Every request must carry the token, as the first part of its path:
`/TOKEN/app.js`; no cookie, which the browser would send to every other port of this machine, too.
The Host header must name this machine, so that a foreign name that is made to lead to 127.0.0.1
(DNS rebinding) gets nothing. Only a table of names is served; no request is ever turned into the
path of a file.
"""

import contextlib
import hmac
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from diffusionblend.errors import DiffusionBlendError, UsageError

HOST = "127.0.0.1"
_LOCAL = re.compile(r"(127\.0\.0\.1|localhost):[0-9]{1,5}")
METHODS = ("GET", "HEAD")
IDLE_SECONDS = 30
HEADERS = {
    # NiiVue holds its letters as pictures in data URIs; it needs no worker and no WebAssembly.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Answer:
    """What a request gets.

    Attributes:
        status: 200, unless it is a refusal.
    """

    kind: str
    body: bytes
    status: HTTPStatus = HTTPStatus.OK


Routes = Mapping[str, Callable[[], Answer]]
"""What makes the answer to each name; the name "" is the page itself."""


class ViewerServer(ThreadingHTTPServer):
    """Serves a table of names on 127.0.0.1, to those who have the token.

    Attributes:
        token: The secret in every address.
    """

    daemon_threads = True  # a browser that keeps a connection open does not keep the server
    allow_reuse_port = False

    def __init__(self, routes: Routes, port: int = 0) -> None:
        self.routes, self.token = routes, secrets.token_urlsafe(32)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"`port={port}`: cannot listen there ({error}); expected a free port, or 0 for any"
            ) from error

    @property
    def url(self) -> str:
        """The address of the page, with the token."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a browser that hangs up."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: ViewerServer
    server_version, sys_version = "diffusionblend", ""
    timeout = IDLE_SECONDS

    def do_GET(self) -> None:
        self._send(self._answer(), body=True)

    def do_HEAD(self) -> None:
        self._send(self._answer(), body=False)

    def _refuse_method(self) -> None:
        self._send(_refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD"), body=True)

    do_POST = do_PUT = do_DELETE = _refuse_method  # noqa: N815 - names of http.server
    do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = _refuse_method  # noqa: N815 - as above

    def _answer(self) -> Answer:
        hosts = self.headers.get_all("Host", [])
        # Any port: through a tunnel it is the other end's.
        if len(hosts) != 1 or not _LOCAL.fullmatch(hosts[0]):
            return _refusal(HTTPStatus.FORBIDDEN, "the Host is not this machine")
        token, slash, name = self.path[1:].partition("/")
        same = hmac.compare_digest(token.encode(), self.server.token.encode())
        if not (self.path.startswith("/") and slash and same):
            return _refusal(HTTPStatus.FORBIDDEN, "no token; open the address that was printed")
        make = self.server.routes.get(name)
        if make is None:
            return _refusal(HTTPStatus.NOT_FOUND, "not found")
        try:
            return make()
        except DiffusionBlendError as error:
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        except MemoryError:
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "out of memory; view fewer volumes")

    def _send(self, answer: Answer, *, body: bool) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", ", ".join(METHODS))
        self.end_headers()
        if body:
            self.wfile.write(answer.body)

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def handle(self) -> None:
        # The browser goes away when its page is closed.
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Say nothing: the lines would hold the token."""


def _refusal(status: HTTPStatus, why: str) -> Answer:
    return Answer("text/plain; charset=utf-8", f"{why}\n".encode(), status)
