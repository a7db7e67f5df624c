"""Photos are decoded only in children that may be killed: bytes in, bytes out, under hard limits."""

import asyncio
import ctypes
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError as FutureCancelled
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import pebble

from ebbmark.errors import EbbmarkError, LimitExceeded
from ebbmark.imaging.render import Limits, Rendered, render
from ebbmark.settings import Settings
from observability import metrics

_PR_SET_PDEATHSIG = 1
_FILE_BYTES = 64 * 1024**2
_OPEN_FILES = 64


class ChildLost(Exception):
    """The child died under the photo, or was killed at its time limit."""

    def __init__(self, reason: str) -> None:
        """`reason` is `died`, `timeout` or the name of what it raised."""
        super().__init__(reason)
        self.reason = reason


class PoolLost(Exception):
    """No child can be started any more: the fork server is gone, or the pool is closing."""


class RenderPool:
    """As many children as cores; each is replaced when it dies, hangs, or has done its share."""

    def __init__(self, settings: Settings) -> None:
        """Start nothing yet."""
        worker = settings.worker
        self.children = worker.children or os.cpu_count() or 1
        self._timeout = worker.child_timeout.total_seconds()
        self._limits = Limits(bytes=settings.photo.bytes, pixels=settings.photo.pixels)
        # Fork is not safe under the threads of this process, and spawn pays the imports anew each time.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["processors.pool", "ebbmark.imaging.warm"])
        os.environ.setdefault("PILLOW_BLOCKS_MAX", "8")  # a third less CPU at 12 MP
        self._pool = pebble.ProcessPool(
            max_workers=self.children,
            max_tasks=worker.child_photos,
            initializer=_confine,
            initargs=(worker.child_memory,),
            context=context,  # pyright: ignore[reportArgumentType] - typeshed spells Pipe differently
        )

    async def __aenter__(self) -> Self:
        # The first children start now, not under the first photo.
        await asyncio.gather(*(self._run(_noop, within=60) for _ in range(self.children)))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.stop()
        await asyncio.to_thread(self._pool.join)

    async def render(
        self, original: bytes, recipe: bytes, logo: bytes | None, facts: Mapping[str, str]
    ) -> Rendered:
        """Render in a child; `facts` are what a mark may say of the photo.

        Raises:
            Rejected: the photo or its recipe is at fault.
            ChildLost: the child died, hung, or failed for a reason nobody foresaw.
            PoolLost: there are no children any more, and there will be none.
        """
        return await self._run(
            _render_in_child,
            original,
            recipe,
            logo,
            self._limits,
            dict(facts),
            int(self._timeout) + 5,
            within=self._timeout,
        )

    async def _run(self, call: Callable[..., Any], *args: object, within: float) -> Any:  # noqa: ANN401 - the child's
        try:
            future = self._pool.schedule(call, args=args, timeout=within)
        except RuntimeError as exc:  # pebble's word for a pool that broke or was closed
            raise PoolLost(str(exc)) from exc
        try:
            return await asyncio.wrap_future(future)
        except TimeoutError as exc:
            metrics.CHILDREN_LOST.labels("timeout").inc()
            raise ChildLost("timeout") from exc
        except (pebble.ProcessExpired, FutureCancelled) as exc:
            metrics.CHILDREN_LOST.labels("died").inc()
            raise ChildLost("died") from exc
        except (EbbmarkError, asyncio.CancelledError):
            raise
        except Exception as exc:  # an operation's own bug; what it says may quote the photo
            metrics.CHILDREN_LOST.labels("failed").inc()
            raise ChildLost(type(exc).__name__) from exc


def _noop() -> None:
    pass


def _render_in_child(  # noqa: PLR0917 - the pool passes arguments by position only
    original: bytes,
    recipe: bytes,
    logo: bytes | None,
    limits: Limits,
    facts: Mapping[str, str],
    cpu_seconds: int,
) -> Rendered:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    used = int(spent.ru_utime + spent.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (used + cpu_seconds, resource.RLIM_INFINITY))
    try:
        return render(original, recipe, logo, limits, facts)
    except MemoryError:
        raise LimitExceeded("out-of-memory", "The photo needs more memory than one photo may take.") from None


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
