"""A TCP proxy under whose weather traffic is late, cut, reset, sliced or slow; it has a thread of its own."""

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_ABORT = struct.pack("ii", 1, 0)
_PIECE = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Weather:
    """What happens to the bytes of every connection, in both directions; by default nothing."""

    delay: float = 0.0
    """Seconds by which each piece is late."""
    piece: int = _PIECE
    """Most bytes that pass at once."""
    rate: float = 0.0
    """Bytes a second that pass, in each direction of a connection; 0 for any number."""
    holed: bool = False
    """Nothing passes, and nobody is told: new connections are taken and lead nowhere."""
    refused: bool = False
    """Connections are reset as soon as they are made."""
    resets: float = 0.0
    """Seconds between two moments at which all connections are reset; 0 for never."""


CLEAR = Weather()


class Proxy:
    """One port in front of one server; `set` changes the weather at once, for what is connected, too."""

    def __init__(self, port: int, target: int) -> None:
        """Both ports are on loopback. Nothing listens before `start`."""
        self.port = port
        self._target = target
        self.harmed = 0
        """Pieces that this weather made late, cut short or kept, and ends of connections that it reset."""
        self._weather = CLEAR
        self._passes = asyncio.Event()
        self._passes.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._resetting: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{port}", daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, weather: Weather) -> None:
        """Return when the weather is this."""
        asyncio.run_coroutine_threadsafe(self._change(weather), self._loop).result(10)

    @property
    def connections(self) -> int:
        """How many ends of connections are open: two for each."""
        return len(self._writers)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._change(CLEAR)
        self._reset()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for each in others:
            each.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _change(self, weather: Weather) -> None:
        self._weather, self.harmed = weather, 0
        if self._resetting is not None:
            self._resetting.cancel()
            self._resetting = None
        (self._passes.clear if weather.holed else self._passes.set)()
        if weather.refused:
            self._reset()
        if weather.resets:
            self._resetting = asyncio.create_task(self._reset_now_and_then(weather.resets))

    async def _reset_now_and_then(self, every: float) -> None:
        while True:
            self._reset()
            await asyncio.sleep(every)

    def _reset(self) -> None:
        for writer in list(self._writers):
            self._reset_one(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._weather.refused:
                self._reset_one(writer)
                return
            await self._passes.wait()
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(there_writer)
            try:
                await asyncio.gather(self._pass_on(reader, there_writer), self._pass_on(there_reader, writer))
            finally:
                self._writers.discard(there_writer)
                there_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            self._reset_one(writer)  # what happened to one side is told to the other
        finally:
            self._writers.discard(writer)
            writer.close()

    def _reset_one(self, writer: asyncio.StreamWriter) -> None:
        self.harmed += 1
        with suppress(OSError):  # gone by itself
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(self._weather.piece):
            weather = self._weather
            self.harmed += weather != CLEAR
            if pause := weather.delay + (len(chunk) / weather.rate if weather.rate else 0):
                await asyncio.sleep(pause)
            await self._passes.wait()
            writer.write(chunk)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()
