"""An Ebbmark for those who send: it answers as the real one does, and can be late, busy, strange or away."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from ingest.names import content_disposition, result_names, safe_name

JOB = "/jobs/abc"
PATIENCE = 20.0


class FakeEbbmark(ThreadingHTTPServer):
    """Every file but an empty one is done as soon as it is there, sealed or not."""

    daemon_threads = True

    def __init__(
        self,
        *,
        stream: bool = True,
        busy: int = 0,
        retry_after: float = 0,
        drops: int = 0,
        most: int = 500,
        stale: int = 0,
        late: frozenset[int] = frozenset(),
        lost: frozenset[int] = frozenset(),
        never: frozenset[int] = frozenset(),
        kept_name: Callable[[str], str] = safe_name,
        before_put: Callable[[int], object] = lambda _: None,
        on_open: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stream = stream
        self.busy = busy  # how many of each request are told to come again
        self.retry_after = retry_after
        self.drops = drops  # how many of each request are taken, and never answered
        self.most = most
        self.stale = stale  # how many statuses do not know yet of the last photo
        self.late = late  # are done once everybody was told that the others are
        self.lost = lost  # have no result to fetch
        self.never = never  # are never done
        self.kept_name = kept_name
        self.before_put = before_put
        self.on_open = on_open
        self.form = b""
        self.keys: list[str] = []
        self.asked: Counter[str] = Counter()
        self.too_soon: list[str] = []
        self.photos: dict[int, tuple[str, bytes]] = {}
        self.total: int | None = None
        self.deleted = threading.Event()
        self.sealed = threading.Event()
        self.putting = threading.Event()
        self.fetched = threading.Event()
        self.over = threading.Event()
        self.changed = threading.Condition()
        self._told: Counter[str] = Counter()
        self._due: dict[str, float] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def status(self, *, without_the_last: bool = False) -> dict[str, object]:
        known = sorted(self.photos.items())[: -1 if without_the_last else None]
        photos = [self._photo(n, name, content) for n, (name, content) in known]
        done, failed = (sum(photo["state"] == state for photo in photos) for state in ("done", "failed"))
        complete = self.total is not None and done + failed == self.total
        return {
            "state": "open" if self.total is None else "complete" if complete else "rendering",
            "version": len(photos) + done + failed + (self.total is not None),
            "total": self.total,
            "done": done,
            "failed": failed,
            "photos": photos,
        }

    def _photo(self, n: int, name: str, content: bytes) -> dict[str, object]:
        told = {"n": n, "name": name, "code": None, "detail": None, "url": None}
        if not content:
            return {**told, "state": "failed", "code": "empty-file", "detail": "It is empty."}
        if n in self.late | self.never:
            return {**told, "state": "queued"}
        return {**told, "state": "done", "url": f"{JOB}/photos/{n}"}

    def names(self) -> dict[int, str]:
        """The names of the results that are done by now, as the archive has them."""
        done = [n for n, (_, content) in sorted(self.photos.items()) if content and n not in self.late]
        return result_names((n, self.photos[n][0], "image/jpeg") for n in done)

    def change(self, what: Callable[[], object]) -> None:
        with self.changed:
            what()
            self.changed.notify_all()

    def takes_it(self, request: str) -> str:
        """Whether the request is to be answered, dropped, or told to come again."""
        with self.changed:
            self.asked[request] += 1
            if time.monotonic() < self._due.get(request, 0):
                self.too_soon.append(request)
            if self.asked[request] <= self.drops:
                return "drop"
            if self._told[request] < self.busy:
                self._told[request] += 1
                self._due[request] = time.monotonic() + self.retry_after
                return "busy"
            return "answer"


class _Handler(BaseHTTPRequestHandler):
    server: FakeEbbmark
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/jobs":
            self.server.keys.append(self.headers["idempotency-key"])
        if not self._goes_on():
            return
        if self.path == "/jobs":
            self.server.form = body
            self.server.on_open()
            self._answer(202, {"status_url": JOB, "events_url": f"{JOB}/events"})
            return
        total = json.loads(body)["total"]
        if total != len(self.server.photos):
            self._answer(409, {"code": "wrong-total", "detail": f"Not exactly {total} photos."})
            return
        self.server.change(lambda: setattr(self.server, "total", total))
        self.server.sealed.set()
        self._answer(202, {})

    def do_PUT(self) -> None:
        body, n = self._body(), int(self.path.rpartition("/")[2])
        self.server.putting.set()
        if not self._goes_on():
            return
        self.server.before_put(n)
        if n >= self.server.most:
            self._answer(413, {"code": "too-many-files", "detail": "That is too many."})
            return
        name = self.server.kept_name(unquote(self.headers["x-filename"]))
        self.server.change(lambda: self.server.photos.update({n: (name, body)}))
        if body:
            self._answer(201, {})
        else:
            self._answer(415, {"code": "empty-file", "detail": "It is empty."})

    def do_DELETE(self) -> None:
        self.server.deleted.set()
        self._reply(204, b"", {})

    def do_GET(self) -> None:
        if self.path == f"{JOB}/events" and self.server.stream:
            self.server.asked[f"GET {self.path}"] += 1
            self._events()
        elif self.path == f"{JOB}/events":
            self._answer(404, {})
        elif self.path == "/readyz":
            self._answer(200, {})
        elif not self._goes_on():
            return
        elif self.path == JOB:
            self.server.stale -= 1
            self._answer(200, self.server.status(without_the_last=self.server.stale >= 0))
        else:
            self._result(int(self.path.rpartition("/")[2]))

    def _result(self, n: int) -> None:
        if n in self.server.lost:
            self._answer(404, {"code": "unknown-photo", "detail": "There is no result of this number."})
            return
        named = content_disposition(self.server.names()[n])
        self._reply(200, b"result of " + self.server.photos[n][1], {"content-disposition": named})
        self.server.fetched.set()

    def _events(self) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        seen = int(self.headers["last-event-id"])
        while not self.server.over.is_set():
            with self.server.changed:
                status = self.server.status()
                if status["version"] == seen:
                    self.server.changed.wait(0.05)
                    continue
            seen = int(str(status["version"]))
            data = json.dumps(status, ensure_ascii=False).encode()
            self.wfile.write(b": ping\r\n\r\nid: %d\r\nevent: snapshot\r\ndata: %b\r\n\r\n" % (seen, data))
            if status["state"] == "complete":
                return
            if status["total"] is not None:
                self.server.change(lambda: setattr(self.server, "late", frozenset()))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Say nothing."""

    def _goes_on(self) -> bool:
        what = self.server.takes_it(f"{self.command} {self.path}")
        if what == "drop":
            self.close_connection = True
        if what == "busy":
            problem = {"code": "too-many-uploads", "detail": "Many uploads are under way."}
            self._answer(429, problem, {"retry-after": f"{self.server.retry_after:.0f}"})
        return what == "answer"

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self._reply(status, json.dumps(body).encode(), headers or {})

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(server: FakeEbbmark) -> Generator[FakeEbbmark]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
