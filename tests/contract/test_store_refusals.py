"""A store that answers 200 and has not deleted everything: spoken with over HTTP, as with any other."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse
from uuid import UUID

import pytest

from ebbmark.errors import Unavailable
from ebbmark.settings import Store
from ebbmark.store import Deleted, S3Store, job_prefix, result_key

JOB = UUID(int=1)


class Grudging(ThreadingHTTPServer):
    """An S3 that refuses to delete each key so many times, within answers that say 200."""

    daemon_threads = True

    def __init__(self, refusals: dict[str, int], *, page: int = 1000) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.refusals = Counter(refusals)
        self.page = page
        self.objects = {result_key(JOB, 0, n): 100 + n for n in range(7)}
        self.asked: list[int] = []
        """How many keys each deletion named."""


class _Answer(BaseHTTPRequestHandler):
    server: Grudging  # pyright: ignore[reportIncompatibleVariableOverride] - it is made for it
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        query = parse_qs(urlparse(self.path).query, keep_blank_values=True)
        if "uploads" in query:
            self._say(
                "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
            )
            return
        after = query.get("continuation-token", [""])[0]
        left = [key for key in sorted(self.server.objects) if key > after]
        page = left[: self.server.page]
        more = len(left) > len(page)
        token = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more else ""
        contents = "".join(
            f"<Contents><Key>{key}</Key><Size>{self.server.objects[key]}</Size>"
            "<LastModified>2026-05-01T00:00:00.000Z</LastModified></Contents>"
            for key in page
        )
        self._say(
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}</ListBucketResult>"
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        keys = re.findall("<Key>(.*?)</Key>", body)
        self.server.asked.append(len(keys))
        errors = ""
        for key in keys:
            if self.server.refusals[key] > 0:
                self.server.refusals[key] -= 1
                errors += f"<Error><Key>{key}</Key><Code>InternalError</Code><Message>no</Message></Error>"
            else:
                self.server.objects.pop(key, None)
        self._say(f"<DeleteResult>{errors}</DeleteResult>")

    def _say(self, body: str) -> None:
        content = f'<?xml version="1.0"?>{body}'.encode()
        self.send_response(200)
        self.send_header("content-type", "application/xml")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has
        """Say nothing."""


@pytest.fixture
def servers() -> Iterator[list[Grudging]]:
    running: list[Grudging] = []
    yield running
    for server in running:
        server.shutdown()
        server.server_close()


def run(servers: list[Grudging], refusals: dict[str, int], *, page: int = 1000) -> tuple[Grudging, S3Store]:
    server = Grudging(refusals, page=page)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    servers.append(server)
    address = f"http://127.0.0.1:{server.server_port}"
    return server, S3Store(Store(endpoint=address, access_key="a", secret_key="b"))  # noqa: S106 - of nobody


async def test_what_is_refused_within_a_200_is_asked_for_again_and_nothing_else(
    servers: list[Grudging],
) -> None:
    server, store = run(servers, {result_key(JOB, 0, 2): 2, result_key(JOB, 0, 5): 1})
    assert await store.delete_prefix(job_prefix(JOB)) == Deleted(7, sum(range(100, 107)))
    assert (server.objects, server.asked) == ({}, [7, 2, 1])


async def test_what_is_refused_again_and_again_is_no_success(servers: list[Grudging]) -> None:
    stubborn = result_key(JOB, 0, 3)
    server, store = run(servers, {stubborn: 99})
    with pytest.raises(Unavailable, match="refused"):
        await store.delete_prefix(job_prefix(JOB))
    assert list(server.objects) == [stubborn], "all others went"
    server.refusals.clear()
    assert await store.delete_prefix(job_prefix(JOB)) == Deleted(1, 103)


async def test_pages_are_deleted_one_by_one_and_a_refusal_in_the_first_is_not_lost(
    servers: list[Grudging],
) -> None:
    stubborn = result_key(JOB, 0, 0)
    server, store = run(servers, {stubborn: 99}, page=3)
    with pytest.raises(Unavailable):
        await store.delete_prefix(job_prefix(JOB))
    server.refusals[stubborn] = 1
    await store.delete_prefix(job_prefix(JOB))
    assert server.objects == {}
