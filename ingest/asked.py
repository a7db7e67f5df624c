"""One question for everybody who asks it at the same time, and its answer for some seconds after."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

A = TypeVar("A")


class Asked(Generic[A]):
    """What something costly says, as of some seconds ago: however many ask, it is asked once."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[A]],
        *,
        good_for: float,
        fault_good_for: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """An answer is good for some seconds, a fault for others; `clock` is in seconds."""
        self._ask = ask
        self._good_for = good_for
        self._fault_good_for = fault_good_for
        self._clock = clock
        self._asking: asyncio.Task[A] | None = None
        self._asked_at = 0.0

    async def __call__(self) -> A:
        """Return the answer; who asks while it is under way waits for the same one, or shares the fault.

        Raises what `ask` raises.
        """
        asking = self._asking
        if asking is None or not self._is_good(asking):
            self._asked_at = self._clock()
            asking = self._asking = asyncio.ensure_future(self._answer())
        # One who goes away takes nothing from the others.
        return await asyncio.shield(asking)

    async def _answer(self) -> A:
        return await self._ask()

    def doubt(self) -> None:
        """Have the next who asks see what has just been done here."""
        self._asking = None

    def _is_good(self, asking: asyncio.Task[A]) -> bool:
        if not asking.done():
            return True
        failed = asking.cancelled() or asking.exception() is not None
        return self._clock() - self._asked_at < (self._fault_good_for if failed else self._good_for)
