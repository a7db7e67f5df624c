"""Whatever is sent, ingest answers as its own description says, and is as well afterwards as before.

What is sent is made from that description, by its rules and against them; `--examples` says how much of it.
"""

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from ebbmark.settings import Settings
from tests.people import Person, photo
from tests.system import System
from tests.unit.visits import House

pytestmark = pytest.mark.servers

EXAMPLES = 40
TOKEN = "of this test's operator"  # noqa: S105 - opens nothing but a room of the tests
METHODS = ("get", "put", "post", "delete")
DECLARED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
SAFETY = {
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "referrer-policy",
    "x-content-type-options",
}
ACCEPTED = st.sampled_from(["application/json", "*/*", "text/html"])
WORD = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=40)
SENT = st.fixed_dictionaries(
    {"accept": ACCEPTED},
    optional={
        "content-type": st.sampled_from(
            [
                "multipart/form-data; boundary=x",
                "multipart/form-data",
                "application/json",
                "application/x-www-form-urlencoded",
                "image/jpeg; charset=\xff",
            ]
        )
        | WORD,
        "authorization": st.just(f"Bearer {TOKEN}") | WORD,
        "idempotency-key": st.just("k" * 16) | WORD,
        "if-none-match": st.sampled_from(["*", '"0-0"', "W/"]) | WORD,
        "if-range": WORD,
        "last-event-id": st.from_regex(r"\A-?[0-9]{1,40}\Z") | WORD,
        "origin": WORD,
        "range": st.from_regex(r"\Abytes=[0-9]{0,30}-[0-9]{0,30}\Z") | WORD,
        "sec-fetch-site": st.sampled_from(["same-origin", "cross-site"]) | WORD,
        "x-filename": WORD,
        "x-forwarded-for": WORD,
    },
)
PART = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n--x--\r\n'
BODY = (
    st.binary(max_size=300)
    | st.builds(lambda name, value: PART % (name, value), st.binary(max_size=20), st.binary(max_size=60))
    | st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers(-(2**70), 2**70) | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["total", "photos", "recipe", "ids", "all", "rate"]), inner)
        ),
    ).map(lambda value: msgspec.json.encode(value) if not _has_long_number(value) else str(value).encode())
)
"""Anything; a form of one field; JSON that knows some of our names."""
NOT_HTTP = [
    b"\0" * 2000,
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /jobs/%ff%fe%00%zz HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /jobs/\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET //jobs//../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /static/%2e%2e/%2e%2e/app.py HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /dlq?cursor=%ff&limit=%00&limit=9 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
    b"POST /upload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"POST /upload HTTP/1.1\r\nhost: x\r\nhost: y\r\norigin: http://x\r\ncontent-length: 0\r\n\r\n",
    b"POST /jobs HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"BREW / HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
]

TOO_LONG = {
    "header": (b"GET / HTTP/1.1\r\nhost: x\r\nx: ", b"y"),
    "headers": (b"GET / HTTP/1.1\r\nhost: x\r\n", b"x: y\r\n"),
    "address": (b"GET /", b"a"),
    "trailers": (
        (
            b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=x\r\n"
            b"transfer-encoding: chunked\r\n\r\n3\r\n--x\r\n0\r\nx: "
        ),
        b"y",
    ),
}
"""How it begins, and what goes on and on."""


def _has_long_number(value: object) -> bool:
    return bool(re.search(r"\d{19}", str(value)))  # msgspec writes 64 bits


def described() -> dict[str, dict[str, Any]]:
    """What may be asked, by path and method."""
    document = msgspec.json.encode(House().app.openapi_schema.to_schema())
    return msgspec.json.decode(document)["paths"]


def documented() -> dict[str, str]:
    """The statuses of every code in the list of codes."""
    text = (Path(__file__).parents[2] / "docs" / "errors.md").read_text("utf-8")
    return dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]*\d{3}[^|]*) \|", text, re.MULTILINE))


def may_be_wrong(operation: dict[str, Any]) -> bool:
    """Whether anything in it has rules that a request can break; a path is any text, and so is a photo."""
    bodies = operation.get("requestBody", {}).get("content", {}).keys() - {"application/octet-stream"}
    return bool(bodies) or any(each["in"] == "query" for each in operation.get("parameters", []))


CODES = documented()
OPERATIONS = [
    (method, path) for path, of_path in described().items() for method in METHODS if method in of_path
]
PLANS = [
    pytest.param(method, path, mode, id=f"{method} {path} {mode.value}")
    for method, path in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or may_be_wrong(described()[path][method])
]


@pytest.fixture(scope="module")
def system_settings(room: Settings) -> Settings:
    """One client does it all; event streams end soon, since there is no judging what goes on."""
    return msgspec.structs.replace(
        room,
        worker=msgspec.structs.replace(room.worker, children=1),
        operator=msgspec.structs.replace(room.operator, token=TOKEN),
        http=msgspec.structs.replace(
            room.http,
            jobs_per_minute=0,
            operator_attempts=0,
            stream_timeout=timedelta(seconds=0.1),
            header_timeout=timedelta(seconds=2),
        ),
        preview=msgspec.structs.replace(room.preview, per_minute=0),
    )


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


@pytest.fixture(scope="module")
def complete(ann: Person) -> str:
    """A job with a photo that is done and one that failed."""
    job = ann.send([("a.jpg", photo(64, 48)), ("b.jpg", photo(64, 48)[:400])])
    status = ann.wait_until_complete(job)
    assert (status["done"], status["failed"]) == (1, 1)
    return job


@pytest.fixture(scope="module")
def memory_before(running_system: System, complete: str) -> int:
    """What ingest holds when it has worked once."""
    assert complete
    return psutil.Process(running_system.processes["ingest"].pid).memory_info().rss


@dataclass(frozen=True)
class Range:
    """Where it is shot at: a system, what it says of itself, and what paths may name that is there."""

    base_url: str
    description: schemathesis.BaseSchema
    names: Mapping[str, list[str]]
    session: requests.Session
    rules: settings

    def there(self, method: str, path: str) -> st.SearchStrategy[dict[str, str]]:
        """Names for the path of what is there, and now and then none. What all need is not to be deleted."""
        names = re.findall(r"{(\w+)}", path)
        known = {**self.names, "public_id": self.names["public_id"][1 if method == "delete" else 0 :]}
        return st.fixed_dictionaries(
            {name: st.sampled_from([*known[name], ""]) for name in names if name in known}
        ).map(lambda chosen: {name: value for name, value in chosen.items() if value})


@pytest.fixture
def shots(
    request: pytest.FixtureRequest, ann: Person, complete: str, running_system: System, memory_before: int
) -> Iterator[Range]:
    assert memory_before
    wanted: int | None = request.config.getoption("--examples")
    opened, deleted = ann.open(), ann.open()
    receipts = [ann.status(job)["receipt_id"] for job in (complete, opened)]
    ann.http.delete(deleted)
    jobs = [job.rpartition("/")[2] for job in (complete, opened, deleted)]
    with requests.Session() as session:
        session.trust_env = False
        yield Range(
            base_url=running_system.base_url,
            description=schemathesis.openapi.from_dict(
                ann.http.get("/openapi.json").json(), config=schemathesis.Config()
            ),
            names={"public_id": jobs, "receipt_id": receipts, "n": ["0", "1", "2"]},
            session=session,
            rules=settings(
                max_examples=wanted or EXAMPLES,
                derandomize=wanted is None,
                database=None,
                deadline=None,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )


def require_sound(status: int, headers: Mapping[str, str], body: bytes, *, of_page: bool) -> None:
    """Whatever was asked, this is an answer of ours, and none for what nobody foresaw."""
    assert headers.keys() >= SAFETY
    assert headers["x-content-type-options"] == "nosniff"
    assert status < 500 or status == 503
    if status < 400:
        return
    kind = headers["content-type"]
    if of_page and kind.startswith("text/html"):
        assert "default-src 'none'" in headers["content-security-policy"]
        return
    assert kind == "application/problem+json"
    problem = msgspec.json.decode(body)
    assert problem["status"] == status
    assert str(status) in CODES[problem["code"]]


@pytest.mark.parametrize(("method", "path", "mode"), PLANS)
def test_every_answer_is_one_that_the_description_declares(
    method: str, path: str, mode: GenerationMode, shots: Range
) -> None:
    operation = shots.description[path][method]

    @shots.rules
    @given(
        case=operation.as_strategy(generation_mode=mode),
        there=shots.there(method, path),
        accept=ACCEPTED,
        token=st.sampled_from([TOKEN, "wrong"]),
    )
    def shoot(case: schemathesis.Case, there: dict[str, str], accept: str, token: str) -> None:
        case.path_parameters = (case.path_parameters or {}) | there
        answer = case.call(
            base_url=shots.base_url,
            session=shots.session,
            headers={"accept": accept, "authorization": f"Bearer {token}"},
            allow_redirects=False,
        )
        headers = {name: value[0] for name, value in answer.headers.items()}
        of_page = accept == "text/html"
        require_sound(answer.status_code, headers, answer.content, of_page=of_page)
        if not of_page:
            case.validate_response(answer, checks=DECLARED)

    shoot()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_header_query_or_body_makes_it_fail(method: str, path: str, shots: Range) -> None:
    unnamed = {"public_id": "x", "n": "9", "letter": "a", "event": "e", "receipt_id": "r"}

    @shots.rules
    @given(
        there=shots.there(method, path),
        asked=st.sampled_from([method, method, method, "head", "patch", "options"]),
        query=st.binary(max_size=40),
        headers=SENT,
        body=BODY,
    )
    def shoot(there: dict[str, str], asked: str, query: bytes, headers: dict[str, str], body: bytes) -> None:
        url = f"{shots.base_url}{path.format_map(unnamed | there)}"
        answer = shots.session.request(
            asked.upper(),
            url,
            params="".join(f"%{byte:02x}" for byte in query),
            headers={name: value.strip().encode("latin-1") for name, value in headers.items()},
            data=body,
            allow_redirects=False,
        )
        found = {name.lower(): value for name, value in answer.headers.items()}
        if asked != "head":
            require_sound(answer.status_code, found, answer.content, of_page=headers["accept"] == "text/html")
        else:
            assert answer.status_code < 500 or answer.status_code == 503

    shoot()


@pytest.mark.parametrize("sent", NOT_HTTP, ids=range(len(NOT_HTTP)))
def test_what_is_hardly_http_is_refused_or_hung_up_on(sent: bytes, running_system: System) -> None:
    port = int(running_system.base_url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        heard = b""
        while (more := _received(connection)) and not heard.endswith(b"}"):
            heard += more
    status = re.match(rb"HTTP/1\.1 (\d{3}) ", heard)
    assert not heard or (status and int(status[1]) < 500)


@pytest.mark.parametrize("kind", TOO_LONG)
def test_a_head_that_does_not_end_is_refused_and_not_kept(kind: str, running_system: System) -> None:
    begun, more = TOO_LONG[kind]
    port = int(running_system.base_url.rpartition(":")[2])
    ingest = psutil.Process(running_system.processes["ingest"].pid)
    before = ingest.memory_info().rss
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)) for _ in range(5)
        ]
        for connection in crowd:
            connection.sendall(begun)
            with suppress(ConnectionError):  # hung up on in the middle
                connection.sendall(more * (16_000_000 // len(more)))
        assert ingest.memory_info().rss - before < 20 * 1024**2  # of the 80 MB that were sent
        for connection in crowd:
            heard = b"".join(iter(lambda connection=connection: _received(connection), b""))
            head, _, body = heard.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            assert lines[0] == "HTTP/1.1 431 Request Header Fields Too Large"
            headers = dict(line.split(": ", 1) for line in lines[1:])
            require_sound(431, headers, body, of_page=False)
            assert msgspec.json.decode(body)["code"] == "head-too-large"


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


def test_after_all_this_it_is_ready_holds_no_more_and_does_its_work(
    ann: Person, running_system: System, memory_before: int
) -> None:
    status = ann.wait_until_complete(ann.send([("a.jpg", photo(64, 48))]))
    assert (status["done"], status["failed"]) == (1, 0)
    assert ann.http.get("/readyz").json()["ready"] is True
    memory = psutil.Process(running_system.processes["ingest"].pid).memory_info().rss
    assert memory - memory_before < 48 * 1024**2
