"""The proxy passes everything on, and does to it what the weather says."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.chaos.proxy import Proxy, Weather
from tests.people import eventually
from tests.system import free_port


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while chunk := connection.recv(65536):
                    connection.sendall(chunk)
            except OSError:
                pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with Proxy(free_port(), echo) as running:
        yield running


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def exchange(connection: socket.socket, text: bytes) -> bytes:
    connection.sendall(text)
    return received(connection, len(text))


def received(connection: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size and (piece := connection.recv(size - len(got))):
        got += piece
    return got


@pytest.mark.parametrize(
    "weather", [Weather(), Weather(delay=0.01), Weather(piece=7), Weather(rate=1e6)], ids=str
)
def test_every_byte_arrives_in_order(proxy: Proxy, weather: Weather) -> None:
    proxy.set(weather)
    text = bytes(range(256)) * 4
    with closing(connect(proxy)) as connection:
        assert exchange(connection, text) == text
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert (proxy.harmed > 0) is (weather != Weather())
    proxy.set(Weather())
    assert proxy.harmed == 0, "that was other weather"


def test_a_hole_keeps_what_comes_and_passes_it_on_when_it_closes(proxy: Proxy) -> None:
    with closing(connect(proxy)) as connection:
        assert exchange(connection, b"before") == b"before"
        proxy.set(Weather(holed=True))
        connection.sendall(b"kept")
        eventually(lambda: proxy.harmed, lambda harmed: harmed > 0)
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
        connection.settimeout(10)
        proxy.set(Weather())
        assert received(connection, 4) == b"kept"


def test_a_refusal_resets_old_and_new_connections(proxy: Proxy) -> None:
    with closing(connect(proxy)) as connection:
        assert exchange(connection, b"before") == b"before"
        proxy.set(Weather(refused=True))
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    with pytest.raises(ConnectionResetError), closing(connect(proxy)) as connection:
        connection.recv(1)


def test_resets_come_again_and_end_with_the_weather(proxy: Proxy) -> None:
    proxy.set(Weather(resets=0.05))
    for _ in range(2):
        with pytest.raises(ConnectionResetError), closing(connect(proxy)) as connection:
            connection.recv(1)
    proxy.set(Weather())
    with closing(connect(proxy)) as connection:
        assert exchange(connection, b"after") == b"after"


def test_a_server_that_is_gone_is_a_reset() -> None:
    with (
        Proxy(free_port(), free_port()) as nowhere,
        pytest.raises(ConnectionResetError),
        closing(connect(nowhere)) as connection,
    ):
        connection.recv(1)
