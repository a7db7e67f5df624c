"""What happens is counted once, and goes to the samples, to Prometheus and to the progress bar alike."""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from loadtest import metrics
from loadtest.samples import Sample

LATE = 0.05
"""Seconds beyond which a request counts as late: its generator was too slow, not the system."""
COUNTS = ("asked", "accepted", "served", "refused", "errors", "wrong", "late")


class Asked(NamedTuple):
    """A request that was sent."""

    request: str
    """upload, events, status or result."""
    step: str
    """What its latency is called."""
    planned: float
    late: float


class Recorder:
    """Everything about one run, from the moment it begins."""

    def __init__(self, tell: Callable[..., object] = dict) -> None:
        """Begin now; `tell` hears of each answer as Locust's listeners do."""
        self._tell = tell
        self.began = time.monotonic()
        self.samples: deque[Sample] = deque()
        self.counts: Counter[str] = Counter()
        """What of `COUNTS` there was so far: photos, but for refusals and errors, which are requests."""
        self.phases: list[dict[str, float | str]] = []

    def now(self) -> float:
        """Return the seconds since the begin."""
        return time.monotonic() - self.began

    def asked(self, request: str, step: str, planned: float) -> Asked:
        """Note that the time of a request has come; it is sent now.

        Lateness counts for uploads: other requests may wait for an answer before them.
        """
        late = max(0.0, self.now() - planned)
        metrics.ASKED.labels(request).inc()
        if request == "upload":
            self.counts["asked"] += 1
            metrics.LATE_SECONDS.observe(late)
            if late > LATE:
                metrics.LATE.inc()
                self.counts["late"] += 1
        return Asked(request, step, planned, late)

    def answered(self, asked: Asked, outcome: str, reason: str = "") -> None:
        """Note how a request ended, now."""
        request, step, planned, late = asked
        seconds = self.now() - planned
        self.samples.append(Sample(step, planned, late, seconds, outcome, reason))
        metrics.ANSWERED.labels(request, outcome).inc()
        self._tell(
            request_type="HTTP",
            name=step,
            response_time=1000 * seconds,
            response_length=0,
            exception=reason or None,
            context={},
        )
        if outcome == "ok":
            if step in metrics.STEPS:
                metrics.SECONDS.labels(step).observe(seconds)
            if step == "accept":
                self.counts["accepted"] += 1
        else:
            self.failed(request, outcome, reason)

    def failed(self, request: str, outcome: str, reason: str) -> None:
        """Note a request that was not served."""
        metrics.ERRORS.labels(request, reason).inc()
        self.counts["refused" if outcome == "refused" else "errors"] += 1

    def done(self, planned: float, late: float) -> None:
        """Note a photo whose result is there and right."""
        seconds = self.now() - planned
        self.samples.append(Sample("done", planned, late, seconds, "ok", ""))
        metrics.SECONDS.labels("done").observe(seconds)
        metrics.VERIFIED.inc()
        self.counts["served"] += 1

    def undone(self, planned: float, late: float, reason: str) -> None:
        """Note an accepted photo without a right result."""
        self.samples.append(Sample("done", planned, late, self.now() - planned, "error", reason))
        if reason.startswith("wrong-"):
            metrics.WRONG_RESULTS.labels(reason.removeprefix("wrong-")).inc()
            self.counts["wrong"] += 1
        else:
            self.failed("result", "error", reason)

    def begin_phase(self, name: str, rate: float) -> None:
        """Note that a phase begins."""
        self.phases.append({"name": name, "rate": rate, "begin": self.now()})

    def end_phase(self) -> None:
        """Note that it ends."""
        self.phases[-1]["end"] = self.now()
