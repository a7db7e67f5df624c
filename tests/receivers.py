"""Receivers of webhooks as strangers run them: small servers on loopback that answer well or badly."""

import base64
import hashlib
import hmac
import json
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Answer = Callable[["_Handler"], None]


@dataclass(frozen=True)
class Received:
    """One message as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> dict[str, Any]:
        """Return the body, once the signature is seen to be right: as a receiver does it."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert self.headers["webhook-signature"].split(" ") == [f"v1,{digest}"]
        return json.loads(self.body)


class Receiver:
    """Answers each path by its script, one answer after the other and the last one again and again."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Received] = []
        self.scripts: dict[str, list[Answer]] = {}
        self.closing = threading.Event()
        self.sent = 0
        self._server = _Server((host, port), _Handler)
        self._server.receiver = self
        self.scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def at(self, path: str) -> list[Received]:
        """Return what came to this path."""
        return [each for each in self.seen if each.path == path]

    def answer(self, path: str) -> Answer:
        script = self.scripts.get(path, [])
        return script.pop(0) if len(script) > 1 else script[0] if script else status(200)


class _Server(ThreadingHTTPServer):
    receiver: Receiver
    daemon_threads = True
    block_on_close = True

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is none of a receiver's faults."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.receiver.seen.append(Received(self.path, headers, body))
        self.close_connection = True
        with suppress(OSError):
            self.server.receiver.answer(self.path)(self)

    do_GET = do_CONNECT = do_POST  # noqa: N815 - the server's spelling

    def log_message(self, *_: object) -> None: ...


def status(code: int, **headers: str) -> Answer:
    """Answer with this status and a short body."""

    def answer(handler: _Handler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", "2")
        handler.end_headers()
        handler.wfile.write(b"ok")

    return answer


def silence(handler: _Handler) -> None:
    """Say nothing until the receiver closes."""
    handler.server.receiver.closing.wait(60)


def half_an_answer(handler: _Handler) -> None:
    """Say 200, promise a body, and say nothing more."""
    handler.send_response(200)
    handler.send_header("content-length", "100000")
    handler.end_headers()
    handler.server.receiver.closing.wait(60)


def without_end(handler: _Handler) -> None:
    """Say 200 and send a body until the client hangs up."""
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.receiver.closing.is_set():
        handler.wfile.write(b"x" * 65536)
        handler.server.receiver.sent += 65536


def nonsense(handler: _Handler) -> None:
    """Answer in no protocol."""
    handler.wfile.write(b"220 mail.example.org ESMTP\r\n\r\n")


def hang_up(_: _Handler) -> None:
    """Close without a word."""


def certificate(folder: Path, names: str) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS for these names, such as `DNS:a.example,IP:127.0.0.1`, and what trusts it."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout {key}"
        f" -out {cert} -subj /CN=test -addext subjectAltName={names}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert
