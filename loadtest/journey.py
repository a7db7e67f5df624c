"""The way of one person: a photo goes up, is watched, comes down, and is compared with what was asked for."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gevent
from geventhttpclient.response import HTTPParseError

from loadtest import metrics
from loadtest.expected import Verifier
from loadtest.published import Entry
from loadtest.recorder import Asked, Recorder
from loadtest.shapes import POLLS
from loadtest.wire import Answer, Wire

_AGAIN = 0.5
"""Seconds between two looks at a status once those that were planned are over, and before an event stream
that ended too early is opened anew."""


class _EndedError(Exception):
    """The way ends here, and why is noted."""


@dataclass(frozen=True)
class Parcel:
    """A photo ready to be sent."""

    entry: Entry
    content: bytes
    sha256: str
    body: bytes
    """The form with it."""


class Journey:
    """One photo's way. In an open loop each request has its time; in a closed one the last answer decides."""

    def __init__(
        self,
        wire: Wire,
        recorder: Recorder,
        verifier: Verifier,
        *,
        watch: str,
        patience: float,
        pace: Callable[[], None] | None = None,
    ) -> None:
        """Wait with `pace` before each request in a closed loop; give a photo up after `patience` seconds."""
        self._wire = wire
        self._recorder = recorder
        self._verifier = verifier
        self._watch = watch
        self._patience = patience
        self._pace = pace
        self._in_flight: Asked | None = None
        self._compared = False

    def travel(self, parcel: Parcel, planned: float) -> None:
        """Send it, and return when its result is verified, or when there will be none."""
        late, job, lost = max(0.0, self._recorder.now() - planned), "", ""
        self._compared = False
        try:
            with gevent.Timeout(self._patience):
                job = self._send(parcel, planned)
                metrics.UNFINISHED.inc()
                watched = self._by_events if self._watch == "events" else self._by_polls
                watched(job, lambda result: self._compare(parcel, planned, late, result))
        except _EndedError as exc:
            lost = str(exc)
        except (gevent.Timeout, ValueError):  # or an answer that is no JSON
            self._abort("timeout")
            lost = "lost"
        if job:
            metrics.UNFINISHED.dec()
        if job and lost and not self._compared:
            self._recorder.undone(planned, late, lost)

    def _compare(self, parcel: Parcel, planned: float, late: float, result: bytes) -> None:
        self._compared = True
        wrong = self._verifier.check(parcel.entry, parcel.sha256, parcel.content, result)
        if wrong is None:
            self._recorder.done(planned, late)
        else:
            self._recorder.undone(planned, late, f"wrong-{wrong}")

    def _send(self, parcel: Parcel, planned: float) -> str:
        answer = self._ask("upload", "accept", planned, lambda: self._wire.post("/upload", parcel.body))
        if answer is None or answer.status != 202:
            raise _EndedError
        metrics.SENT_BYTES.inc(len(parcel.content))
        return answer.location

    def _by_events(self, job: str, on_result: Callable[[bytes], None]) -> None:
        """Follow the event stream as the page does; it ends when the job is complete."""
        while True:
            answer = self._ask(
                *("events", "events", self._due()),
                lambda: self._wire.get(f"{job}/events", accept="text/event-stream"),
            )
            ended = answer is not None and answer.status == 200
            if answer is not None and ended and _complete(snapshot(answer.body)):
                on_result(self._fetch(job))
                return
            gevent.sleep(_AGAIN if ended else _pause(answer))

    def _by_polls(self, job: str, on_result: Callable[[bytes], None]) -> None:
        """Ask for the status as often as planned, and until it is complete; closed loops fetch only then."""
        accepted, etag, complete, fetched = self._recorder.now(), "", False, False
        looks = 0
        while looks < len(POLLS) or not complete:
            planned = self._due(accepted + _at(POLLS, looks))
            looks += 1
            answer = self._ask(
                *("status", "status", planned), lambda etag=etag: self._wire.get(job, etag=etag)
            )
            if answer is None or answer.status not in {200, 304}:
                gevent.sleep(_pause(answer))
                continue
            etag = answer.etag or etag
            complete = complete or (answer.status == 200 and _complete(json.loads(answer.body)))
            if complete and not fetched and self._pace is None:
                on_result(self._fetch(job))
                fetched = True
        if not fetched:
            on_result(self._fetch(job))

    def _fetch(self, job: str) -> bytes:
        while True:
            answer = self._ask(
                *("result", "result", self._due()), lambda: self._wire.get(f"{job}/photos/0", accept="*/*")
            )
            if answer is not None and answer.status == 200:
                metrics.RECEIVED_BYTES.inc(len(answer.body))
                return answer.body
            gevent.sleep(_pause(answer))

    def _due(self, planned: float | None = None) -> float:
        """Return the time of the next request, and not before it has come."""
        if self._pace is not None:
            self._pace()
            return self._recorder.now()
        if planned is None:
            return self._recorder.now()
        gevent.sleep(max(0.0, planned - self._recorder.now()))
        return planned

    def _ask(self, request: str, step: str, planned: float, send: Callable[[], Answer]) -> Answer | None:
        """Send a request and note how it ended; return None when there was no answer."""
        asked = self._in_flight = self._recorder.asked(request, step, planned)
        try:
            answer = send()
        except TimeoutError:
            self._abort("timeout")
            return None
        except (OSError, HTTPParseError):
            self._abort("connection")
            return None
        self._in_flight = None
        if answer.status in {404, 410}:
            self._recorder.answered(asked, "error", "client")
            raise _EndedError("lost")
        if answer.status < 400:
            self._recorder.answered(asked, "ok")
        elif answer.refused:
            self._recorder.answered(asked, "refused", "refused")
        else:
            reason = "client" if answer.status < 500 else "server"
            self._recorder.answered(asked, "error", reason)
        return answer

    def _abort(self, reason: str) -> None:
        if self._in_flight is not None:
            self._recorder.answered(self._in_flight, "error", reason)
            self._in_flight = None


def snapshot(stream: bytes) -> dict[str, Any]:
    """Return the last snapshot of an event stream that was read to its end."""
    _, _, last = stream.rpartition(b"data: {")
    return json.loads(b"{" + last.splitlines()[0]) if last else {}


def _complete(status: dict[str, Any]) -> bool:
    if status.get("state") != "complete":
        return False
    if status["failed"]:
        raise _EndedError("failed")
    return True


def _at(times: Sequence[float], n: int) -> float:
    return times[n] if n < len(times) else times[-1] + _AGAIN * (n + 1 - len(times))


def _pause(answer: Answer | None) -> float:
    return _AGAIN if answer is None else answer.pause
