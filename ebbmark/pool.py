"""What may hang, die or eat memory is done only in children that may be killed, under hard limits."""

import asyncio
import ctypes
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

import msgspec
import pebble

from ebbmark.errors import EbbmarkError, LimitExceeded
from ebbmark.pipes import RoomyContext
from ebbmark.usage import Usage
from observability import metrics

__all__ = ["ALLOCATION", "ChildLost", "ChildPool", "Confines", "PoolLost"]

P = ParamSpec("P")
R = TypeVar("R")

_PR_SET_PDEATHSIG = 1
ALLOCATION = {
    "PILLOW_BLOCKS_MAX": "8",
    "MALLOC_TRIM_THRESHOLD_": str(128 * 1024**2),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2),
}
"""A child keeps the memory of one photo for the next: a page given back comes again, cleared, by a fault.
A third less CPU at 12 MP by Pillow's blocks, a tenth less at 2 MP by glibc's thresholds."""
_FILE_BYTES = 64 * 1024**2
_OPEN_FILES = 64
_LOOK_EVERY = 2.0
_OUT = "out-of-memory"
_TAKEN_WITHIN = 20.0
"""Seconds in which a child that has nothing to do takes up a call, even one that is only just starting."""


class ChildLost(Exception):
    """The child died under the photo, or was killed at its time limit."""

    def __init__(self, reason: str) -> None:
        """`reason` is `died`, `timeout` or the name of what it raised."""
        super().__init__(reason)
        self.reason = reason


class PoolLost(Exception):
    """No child can be started any more."""


class Confines(msgspec.Struct, frozen=True, kw_only=True):
    """How many children there are, and what each may cost."""

    children: int
    seconds: float
    """A child that takes longer over one call is killed."""
    memory: int
    """Bytes of address space."""
    calls: int
    """A child is replaced after so many, and sooner when it has run out of memory."""


def _noop() -> None:
    pass


class ChildPool:
    """So many children; each is replaced when it dies, hangs, or has done its share.

    A child that is killed while it waits for work takes the pool with it, since it dies with the pool's
    lock in its hand; so does the fork server. One that is killed in the moment it is handed a call
    loses it without a word. In all these cases there is a new pool, and what was under way is begun
    again, once.
    """

    def __init__(self, confines: Confines) -> None:
        """Start nothing yet."""
        self.children = confines.children
        self.seconds = confines.seconds
        self._confines = confines
        # Fork is not safe under the threads of this process, and spawn pays the imports anew each time.
        self._context = RoomyContext()
        self._context.set_forkserver_preload(["ebbmark.pool", "ebbmark.imaging.warm"])
        for name, value in ALLOCATION.items():
            os.environ.setdefault(name, value)
        self._usage = Usage(self.children)
        self._pool = self._make()
        self._started: pebble.ProcessPool | None = None
        self._flying: dict[Future[Any], float] = {}
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watching: asyncio.Task[None] | None = None

    def _make(self) -> pebble.ProcessPool:
        metrics.POOLS_STARTED.inc()
        return pebble.ProcessPool(
            max_workers=self.children,
            max_tasks=_Calls(self._confines.calls),
            initializer=_confine,
            initargs=(self._confines.memory,),
            context=self._context,  # pyright: ignore[reportArgumentType] - typeshed spells Pipe differently
        )

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        for reason in ("timeout", "died", "failed", "broken"):
            metrics.CHILDREN_LOST.labels(reason)  # from zero on: a rise from nothing is none to Prometheus
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watching is not None:
            self._watching.cancel()
        self._pool.stop()
        with suppress(RuntimeError):
            await asyncio.to_thread(self._pool.join)

    async def warm(self, question: Callable[[], Any] = _noop) -> Any:  # noqa: ANN401 - whatever is asked
        """Have the first children start now, not under the first photo, and return what one of them answers.

        Raises what `run` raises.
        """
        return (await asyncio.gather(*(self._run(question, within=60) for _ in range(self.children))))[0]

    @property
    def busy(self) -> int:
        """How many children have something in hand."""
        return min(len(self._flying), self.children)

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `call` returns in a child; it, its arguments and its outcome are pickled.

        It may be begun twice. Errors of ours that it raises are raised here.

        Raises:
            LimitExceeded: it took more memory than it may, code `out-of-memory`.
            ChildLost: the child died, hung, or failed for a reason nobody foresaw.
            PoolLost: there are no children any more, and there will be none.
        """
        return await self.run_within(self.seconds, call, *args, **kwargs)

    async def run_within(self, seconds: float, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Do as `run` does, with another limit of time."""
        turn: _Turn = await self._run(_in_child, int(seconds) + 5, call, args, kwargs, within=seconds)
        metrics.CHILDREN_CPU_SECONDS.inc(turn.cpu_seconds)
        if turn.first:
            metrics.CHILDREN_STARTED.inc()
        return cast("R", turn.value)

    async def _run(self, call: Callable[..., Any], *args: object, within: float) -> Any:  # noqa: ANN401 - the child's
        for last in (False, True):
            pool = self._pool
            try:
                return await self._run_in(pool, call, args, within)
            except _Broken as exc:
                self._replace(pool)
                if last:
                    raise (ChildLost("broken") if exc.begun else PoolLost) from exc
        raise AssertionError

    async def _schedule(
        self, pool: pebble.ProcessPool, call: Callable[..., Any], args: tuple[object, ...], within: float
    ) -> Future[Any]:
        if pool is self._started:
            return pool.schedule(call, args=args, timeout=within)
        # It starts its children by this, and waits for a fork server that may be starting, too.
        future = await asyncio.to_thread(pool.schedule, call, args=args, timeout=within)
        self._started = pool
        return future

    async def _run_in(
        self, pool: pebble.ProcessPool, call: Callable[..., Any], args: tuple[object, ...], within: float
    ) -> Any:  # noqa: ANN401 - the child's
        broken = self._broken
        try:
            future = await self._schedule(pool, call, args, within)
        except (RuntimeError, OSError, EOFError) as exc:  # pebble's word for a pool that broke, or no process
            raise _Broken(begun=False) from exc
        self._flying[future] = time.monotonic()
        self._usage.begin()
        outcome = asyncio.wrap_future(future)
        try:
            await asyncio.wait([outcome, broken], return_when=asyncio.FIRST_COMPLETED)
            if not outcome.done():
                raise _Broken(begun=True)  # noqa: TRY301 - told by the pool, not by the future
            return outcome.result()
        except TimeoutError as exc:
            metrics.CHILDREN_LOST.labels("timeout").inc()
            raise ChildLost("timeout") from exc
        except BrokenProcessPool as exc:
            raise _Broken(begun=True) from exc
        except (pebble.ProcessExpired, FutureCancelled) as exc:
            metrics.CHILDREN_LOST.labels("died").inc()
            raise ChildLost("died") from exc
        except (EbbmarkError, _Broken, asyncio.CancelledError):
            raise
        except Exception as exc:  # an operation's own bug; what it says may quote the photo
            metrics.CHILDREN_LOST.labels("failed").inc()
            raise ChildLost(type(exc).__name__) from exc
        finally:
            self._flying.pop(future, None)
            self._usage.end()
            outcome.add_done_callback(_heard) if broken.done() else outcome.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            self._usage.note()
            oldest = time.monotonic() - _TAKEN_WITHIN
            waiting = [f for f, since in self._flying.items() if since < oldest and not f.running()]
            busy = sum(f.running() for f in self._flying)
            if busy < self.children and any(not f.done() for f in waiting):
                self._replace(self._pool)

    def _replace(self, broken: pebble.ProcessPool) -> None:
        if broken is not self._pool:
            return  # another photo has seen to it
        metrics.CHILDREN_LOST.labels("broken").inc()
        self._pool = self._make()
        # Their futures are the old pool's, which may still come to speak of them.
        self._broken.set_result(None)
        self._broken = asyncio.get_running_loop().create_future()
        threading.Thread(target=_bury, args=(broken,), name="broken-pool", daemon=True).start()


class _Broken(Exception):
    def __init__(self, *, begun: bool) -> None:
        super().__init__()
        self.begun = begun


def _heard(outcome: "asyncio.Future[Any]") -> None:
    """Take note of what nobody waits for any more."""
    if not outcome.cancelled():
        outcome.exception()


def _bury(pool: pebble.ProcessPool) -> None:
    """End what is left of a broken pool, in a thread, for it may wait for what never comes."""
    with suppress(Exception):
        pool.stop()
        pool.join()


class _Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What a child says when it is done with a call."""

    value: object
    cpu_seconds: float
    first: bool
    """Whether it is the first of this child."""


class _Calls(int):
    """How many calls a child takes: no more once it has run out of memory.

    A cache of an operation may hold what filled it, and then every photo after it would fail. pebble asks
    before each call whether it is one too many, and tells the outcome of the last before it asks: no other
    moment is between two calls.
    """

    def __gt__(self, done: int) -> bool:
        return not _full and super().__gt__(done)


_full: list[bool] = []
"""Says in a child that it has run out of memory."""
_new = [True]
"""Empty in a child that has said so; the fork server, which is never called, hands it on full."""


def _in_child(
    cpu_seconds: int, call: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> _Turn:
    spent = time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent) + cpu_seconds, resource.RLIM_INFINITY))
    try:
        value = call(*args, **kwargs)
    except MemoryError:
        _full.append(True)
        raise LimitExceeded(_OUT, "The photo needs more memory than one photo may take.") from None
    except LimitExceeded as exc:
        _full.extend([True] * (exc.code == _OUT))
        raise
    first = bool(_new and _new.pop())
    return _Turn(value=value, cpu_seconds=time.process_time() - spent, first=first)


def _confine(memory: int) -> None:
    """Run in each new child: die with the parent, and never take more than one photo may."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who drains
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, _FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:  # noqa: PTH123
        score.write("1000")
