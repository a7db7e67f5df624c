"""A stream of events is never silent for so long that its client gives it up, whatever it waits for."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace
from uuid import uuid4

import pytest

from ebbmark.ledger import NewJob, NewPhoto, Snapshot
from ebbmark.sending.server import SILENCE
from ebbmark.testing import MemoryLedger
from ingest import stream
from ingest.stream import Watch
from ingest.tokens import encode, new_token, token_hash

LIFE = timedelta(hours=1)
A_MINUTE = 60.0


class _Jumping(selectors.DefaultSelector):
    """Where others sleep it returns at once, and notes how much time that saved."""

    saved = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.saved += timeout or 0
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to what is due next, so hours of waiting take no time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the seconds that would have passed."""
        return super().time() + self._jumping.saved


class SlowLedger(MemoryLedger):
    """A ledger that does not answer while a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()
        self.answers.set()

    async def snapshot_by_token(self, token_hash: bytes) -> Snapshot | None:
        await self.answers.wait()
        return await super().snapshot_by_token(token_hash)


@pytest.fixture
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[Coroutine[None, None, None]], None]:
    """What runs a coroutine on a clock that jumps, which is the one that streams look at, too."""

    def run(coroutine: Coroutine[None, None, None]) -> None:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=runner.get_loop().time))
            runner.run(coroutine)

    return run


async def opened(ledger: MemoryLedger) -> str:
    """Open a job whose one photo nobody renders."""
    public_id = encode(new_token())
    job = await ledger.open_job(NewJob(id=uuid4(), token_hash=token_hash(public_id), recipe=b"{}"))
    await ledger.add_photos(job.id, [NewPhoto(n=0, name="0.jpg", size=1, sha256=b"0")], stale=LIFE)
    return public_id


class Listener:
    """One client of a stream, and the longest silence it met."""

    def __init__(self, watch: Watch, public_id: str) -> None:
        self._task = asyncio.create_task(self._listen(watch, public_id))
        self._clock = asyncio.get_running_loop().time
        self.words: list[str] = []
        self._heard = [self._clock()]

    async def _listen(self, watch: Watch, public_id: str) -> None:
        async for event in watch.events(public_id, 0):
            self.words.append(event.comment or event.event or "")
            self._heard.append(self._clock())

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def silence(self) -> float:
        return max(later - before for before, later in pairwise([*self._heard, self._clock()]))


@pytest.mark.parametrize("jobs", [1, 500])
def test_a_stream_pings_in_time_however_many_jobs_wait(
    in_no_time: Callable[[Coroutine[None, None, None]], None], jobs: int
) -> None:
    async def watched() -> None:
        ledger = SlowLedger()
        watch = Watch(ledger, stream_timeout=LIFE)
        listening = asyncio.create_task(watch.run())
        ids = [await opened(ledger) for _ in range(jobs)]
        listeners = [Listener(watch, public_id) for public_id in ids]
        await asyncio.sleep(A_MINUTE)
        assert {word for each in listeners for word in each.words} == {"snapshot", "ping"}
        assert max(each.silence for each in listeners) < _patience()
        for each in listeners:
            await each.leave()
        listening.cancel()

    in_no_time(watched())


@pytest.mark.parametrize("away", ["refuses", "hangs"])
def test_a_stream_pings_while_the_ledger_is_away(
    in_no_time: Callable[[Coroutine[None, None, None]], None], away: str
) -> None:
    async def deserted() -> None:
        ledger = SlowLedger()
        watch = Watch(ledger, stream_timeout=LIFE)
        listener = Listener(watch, await opened(ledger))
        await asyncio.sleep(1)
        if away == "refuses":
            ledger.down = True
        else:
            ledger.answers.clear()
        await asyncio.sleep(A_MINUTE)
        assert set(listener.words) == {"snapshot", "ping"}
        assert listener.silence < _patience()
        await listener.leave()

    in_no_time(deserted())


def _patience() -> float:
    """Of `ebbmark send`, less what a line may take."""
    assert SILENCE.read is not None
    return SILENCE.read - 2
