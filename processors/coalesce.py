"""Calls made at the same time become one call for all of them; alone, a call goes out at once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from ebbmark.errors import Unavailable

Q = TypeVar("Q", bound=Hashable)
A = TypeVar("A")


class Coalesced(Generic[Q, A]):
    """Asks many questions in one round trip: while one call is under way, the next one gathers."""

    def __init__(
        self,
        ask: Callable[[Sequence[Q]], Awaitable[Mapping[Q, A]]],
        *,
        most: int = 100,
        leftover: Callable[[A], Awaitable[object]] | None = None,
    ) -> None:
        """`ask` answers up to `most` questions; one that it leaves out is answered None.

        An answer that nobody waits for any more goes to `leftover`.
        """
        self._ask = ask
        self._leftover = leftover
        self._most = most
        self._waiting: list[tuple[Q, asyncio.Future[A | None]]] = []
        self._asking: asyncio.Task[None] | None = None

    async def __call__(self, question: Q) -> A | None:
        """Return the answer. Of equal questions asked together only the first gets it.

        Raises what `ask` raised: `Unavailable` to everyone who asked in the same call, anything else
        only to whose own question, asked alone, raises it.
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
        except Unavailable as exc:
            _fail(asked, exc)
        except Exception as exc:  # noqa: BLE001 - raised to whom it concerns
            # Somebody's question is at fault, and must not fail the others'.
            if len(asked) == 1:
                _fail(asked, exc)
            else:
                for each in asked:
                    await self._answer([each])
        except BaseException:
            _fail(asked, asyncio.CancelledError())
            raise
        else:
            for question, future in asked:
                answer = answers.pop(question, None)
                if not future.done():
                    future.set_result(answer)
                elif answer is not None and self._leftover is not None:
                    await self._leftover(answer)


def _fail(asked: Iterable[tuple[object, asyncio.Future[A]]], error: BaseException) -> None:
    for _, future in asked:
        if not future.done():
            future.set_exception(error)
