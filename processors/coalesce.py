"""Calls made at the same time become one call for all of them; alone, a call goes out at once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q", bound=Hashable)
A = TypeVar("A")


class Coalesced(Generic[Q, A]):
    """Asks many questions in one round trip: while one call is under way, the next one gathers."""

    def __init__(self, ask: Callable[[Sequence[Q]], Awaitable[Mapping[Q, A]]], *, most: int = 100) -> None:
        """`ask` answers up to `most` questions; one that it leaves out is answered None."""
        self._ask = ask
        self._most = most
        self._waiting: list[tuple[Q, asyncio.Future[A | None]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self, question: Q) -> A | None:
        """Return the answer. Of equal questions asked together only the first gets it.

        Raises what `ask` raised, to everyone who asked in the same call.
        """
        answer: asyncio.Future[A | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._drain())
        return await answer

    async def _drain(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._answer(asked)
        finally:
            self._asking = None

    async def _answer(self, asked: list[tuple[Q, asyncio.Future[A | None]]]) -> None:
        try:
            answers = dict(await self._ask(list(dict.fromkeys(question for question, _ in asked))))
        except BaseException as exc:
            for _, future in asked:
                if not future.done():
                    future.set_exception(exc if isinstance(exc, Exception) else asyncio.CancelledError())
            if not isinstance(exc, Exception):
                raise
            return
        for question, future in asked:
            answer = answers.pop(question, None)
            if not future.done():
                future.set_result(answer)
