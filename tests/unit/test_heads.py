"""Heads are bounded by their bytes, however these come; asked over a real socket."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import uvicorn
from uvicorn.server import ServerState

from ebbmark.settings import Http
from ingest import connections

Ear = Callable[[], Awaitable[dict[str, Any]]]
Mouth = Callable[[dict[str, Any]], Awaitable[None]]

LIMIT = 1024
GET = b"GET / HTTP/1.1\r\nhost: x\r\n"
HASTY = b"POST /hasty HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


async def told_the_length(scope: Mapping[str, Any], receive: Ear, send: Mouth) -> None:
    """Read the whole body, then say how long it is; of a hasty request, before anything of it is read."""
    length = 0
    while scope["path"] != "/hasty":
        message = await receive()
        if message["type"] != "http.request":
            return
        length += len(message["body"])
        if not message["more_body"]:
            break
    body = b"%d;" % length
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@pytest_asyncio.fixture
async def door() -> AsyncIterator[int]:
    """The port of a server with a small limit."""
    config = uvicorn.Config(
        told_the_length, http=connections.protocol(Http(head_bytes=LIMIT)), ws="none", log_config=None
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: config.http_protocol_class(config=config, server_state=state, app_state={}),  # type: ignore[call-arg]
        "127.0.0.1",
        0,
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


async def answer_to(door: int, *pieces: bytes) -> bytes:
    """All that is answered until the connection ends; each piece arrives by itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)  # let the server read it
    async with asyncio.timeout(10):
        heard = await reader.read()
    writer.close()
    return heard


def padded(head: bytes, size: int) -> bytes:
    """The head, complete and so many bytes long."""
    return head + b"x: " + b"y" * (size - len(head) - 7) + b"\r\n\r\n"


LAST = b"connection: close\r\n"


async def test_a_head_of_just_the_limit_is_answered_and_a_byte_more_is_not(door: int) -> None:
    assert (await answer_to(door, padded(GET + LAST, LIMIT))).endswith(b"\r\n\r\n0;")
    refused = await answer_to(door, padded(GET + LAST, LIMIT + 1))
    head, _, body = refused.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"\r\nconnection: close" in head
    assert msgspec.json.decode(body)["code"] == "head-too-large"


@pytest.mark.parametrize(
    "endless",
    [GET + b"x: " + b"y" * 9000, GET + b"x: y\r\n" * 2000, b"GET /" + b"a" * 9000, b"\r\n" * 9000],
    ids=["header", "headers", "address", "empty lines"],
)
async def test_it_is_refused_whether_it_comes_at_once_or_byte_by_byte(door: int, endless: bytes) -> None:
    assert b" 431 " in await answer_to(door, endless)
    assert b" 431 " in await answer_to(door, *(endless[at : at + 7] for at in range(0, len(endless), 7)))


async def test_nothing_is_heard_after_the_refusal(door: int) -> None:
    heard = await answer_to(door, GET + b"x: " + b"y" * 9000, b"\r\n\r\n" + GET + LAST + b"\r\n")
    assert heard.count(b"HTTP/1.1 ") == 1


async def test_endless_trailers_are_refused_and_short_ones_are_not(door: int) -> None:
    chunk = b"5\r\nhello\r\n"
    assert b"\r\n\r\n5;" in await answer_to(door, POST + chunk + b"0\r\nx: y\r\n\r\n" + GET + LAST + b"\r\n")
    for trailers in (b"x: " + b"y" * 9000, b"x: y\r\n" * 2000):
        assert b" 431 " in await answer_to(door, POST + chunk + b"0\r\n" + trailers)
        pieces = (trailers[at : at + 7] for at in range(0, len(trailers), 7))
        assert b" 431 " in await answer_to(door, POST + chunk, b"0\r\n", *pieces)


async def test_who_was_answered_already_is_not_answered_again(door: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door)
    writer.write(HASTY)
    assert await reader.readuntil(b"0;")
    writer.write(b"0\r\nx: " + b"y" * 9000)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_an_endless_extension_of_a_chunk_is_refused(door: int) -> None:
    assert b" 431 " in await answer_to(door, POST + b"5;" + b"x" * 9000)


async def test_a_long_body_is_no_head(door: int) -> None:
    chunks = b"5\r\nhello\r\n" * 10_000 + b"0\r\n\r\n"
    heard = await answer_to(door, POST + chunks + GET + LAST + b"\r\n")
    assert b"\r\n\r\n50000;" in heard
    plain = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 500000\r\n\r\n"
    assert (await answer_to(door, plain + bytes(500_000))).endswith(b"\r\n\r\n500000;")


async def test_a_pipelined_head_is_bounded_too_and_never_takes_the_place_of_another_answer(
    door: int, caplog: pytest.LogCaptureFixture
) -> None:
    for earlier in (1, 2):
        assert await answer_to(door, (GET + b"\r\n") * earlier + GET + b"x: " + b"y" * 9000) == b""
    assert not caplog.records  # whoever answers the earlier ones is not disturbed
    reader, writer = await asyncio.open_connection("127.0.0.1", door)
    writer.write(GET + b"\r\n")
    assert await reader.readuntil(b"0;")
    writer.write(GET + b"x: " + b"y" * 9000)
    async with asyncio.timeout(10):
        assert b" 431 " in await reader.read()
    writer.close()


async def test_many_requests_in_one_connection_are_not_added_up(door: int) -> None:
    heard = await answer_to(door, *[padded(GET, LIMIT - 100)] * 9, padded(GET + LAST, LIMIT - 100))
    assert heard.count(b" 200 ") == 10
