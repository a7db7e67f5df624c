"""What aiokafka hears when it writes to a wire that was cut, by the real event loop."""

import asyncio

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError

from ebbmark import flow


class Request:
    """As much of a request as is needed to send it."""

    def prepare(self, versions: object) -> "Request":
        del versions
        return self

    def build_request_header(self, **_: object) -> "Request":
        return self

    def encode(self) -> bytes:
        return b"request"


async def sent_over_a_cut_wire() -> AIOKafkaConnection:
    """Write to a connection whose end the loop knows and the connection does not."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        connection = AIOKafkaConnection("127.0.0.1", port, request_timeout_ms=1000)
        _, connection._writer = await asyncio.open_connection("127.0.0.1", port)  # noqa: SLF001 - as it does itself
        connection._writer.transport.abort()  # noqa: SLF001 - as above
        await asyncio.sleep(0.05)
        with pytest.raises(KafkaConnectionError):
            await connection.send(Request())
    return connection


def test_a_cut_wire_is_a_broken_connection_and_no_end_of_the_consumer() -> None:
    assert flow.Consumer  # whoever consumes has it mended
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert not runner.run(sent_over_a_cut_wire()).connected()
