"""A child of the pool takes calls under limits, and nothing leaves it that could harm its parent.

That is a value, a `Rejected` or a `LimitExceeded` as exactly these, or the name of whatever else was raised.
"""

import ctypes
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from ebbmark.errors import LimitExceeded, Rejected

__all__ = ["Answer", "Calls", "Fault", "Turn", "asked", "confine", "take"]

_PR_SET_PDEATHSIG = 1
_FILE_BYTES = 64 * 1024**2
_OPEN_FILES = 64
_OUT = "out-of-memory"


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What a child says when it is done with a call."""

    value: object
    cpu_seconds: float
    first: bool
    """Whether it is the first of this child."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a child answers to a question, or what was raised when it tried to."""

    value: object = None
    fault: str = ""


class Fault(Exception):
    """A child could not do what it should, for a reason nobody foresaw."""

    def __init__(self, kind: str) -> None:
        """`kind` is the name of what was raised."""
        super().__init__(kind)
        self.kind = kind


class Calls(int):
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


def take(
    cpu_seconds: int, call: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
) -> Turn:
    """Do a call.

    Raises:
        Rejected: the call raised one of this code and with this sentence, of whatever class.
        LimitExceeded: as above; or it took more memory than it may, code `out-of-memory`.
        Fault: it raised anything else.
    """
    spent = time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent) + cpu_seconds, resource.RLIM_INFINITY))
    try:
        value = call(*args, **kwargs)
    except MemoryError:
        _full.append(True)
        raise LimitExceeded(_OUT, "The photo needs more memory than one photo may take.") from None
    except Rejected as exc:
        _full.extend([True] * (exc.code == _OUT))
        # An operation may have a class of its own: one that the parent cannot make anew breaks the pool.
        kind = LimitExceeded if isinstance(exc, LimitExceeded) else Rejected
        raise kind(exc.code, exc.detail) from exc
    except BaseException as exc:
        # The same goes for whatever this is; and a SystemExit would be the parent's.
        raise Fault(type(exc).__name__) from exc
    first = bool(_new and _new.pop())
    return Turn(value=value, cpu_seconds=time.process_time() - spent, first=first)


def asked(question: Callable[[], object]) -> Answer:
    """Answer a question that is not about a photo."""
    try:
        return Answer(value=question())
    except Exception as exc:  # noqa: BLE001 - it is no photo's, and told in full
        return Answer(fault=f"{type(exc).__name__}: {exc}")


def confine(memory: int) -> None:
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
