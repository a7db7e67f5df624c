"""What processes showed, again and again: values of now, and how much grew within the last seconds."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Values = Mapping[str, Mapping[Labels, float]]
"""By the name of the sample and its labels."""

_GROWING = ("_total", "_bucket", "_sum", "_count")


def parse(text: str) -> Values:
    """Return what a process shows in Prometheus's text format; no label can steer a terminal.

    Raises:
        ValueError: this is another format.
    """
    values: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = frozenset((name, _printable(value)) for name, value in sample.labels.items())
            values.setdefault(sample.name, {})[labels] = sample.value
    return values


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)


class _Step(Struct, frozen=True):
    """How much grew between two readings that followed each other."""

    ended: float
    seconds: float
    grown: Values


class Past:
    """One process within a window of time. A counter that fell began anew at 0, with its process."""

    def __init__(self, window: float) -> None:
        """`window` is in seconds."""
        self._window = window
        self._last: tuple[float, Values] | None = None
        self._steps: deque[_Step] = deque()
        self.answers = False
        """Whether it did when it was last asked."""

    def add(self, at: float, values: Values | None) -> None:
        """Enter what it showed at this `time.monotonic`; None when it did not answer."""
        self.answers = values is not None
        if values is not None:
            if self._last is not None and at > self._last[0]:
                before, then = self._last
                self._steps.append(_Step(at, at - before, _grown(then, values)))
            self._last = at, values
        while self._steps and self._steps[0].ended <= at - self._window:
            self._steps.popleft()

    def now(self, name: str) -> Mapping[Labels, float]:
        """Return the values of a metric, by labels; none while it does not answer."""
        return self._last[1].get(name, {}) if self.answers and self._last else {}

    @property
    def seconds(self) -> float:
        """How long it was watched within the window."""
        return sum(step.seconds for step in self._steps)

    def grown(self, name: str) -> Mapping[Labels, float]:
        """Return how much a counter grew within the window, by labels."""
        total: defaultdict[Labels, float] = defaultdict(float)
        for step in self._steps:
            for labels, value in step.grown.get(name, {}).items():
                total[labels] += value
        return total


def _grown(then: Values, now: Values) -> Values:
    return {
        name: {
            labels: value - before if value >= (before := then.get(name, {}).get(labels, 0.0)) else value
            for labels, value in series.items()
        }
        for name, series in now.items()
        if name.endswith(_GROWING)
    }


class Sight:
    """All processes together."""

    def __init__(self, pasts: Mapping[str, Past]) -> None:
        """`pasts` are by the names of the processes."""
        self.pasts = pasts

    def total(self, name: str, **labels: str) -> float | None:
        """Return the sum of a metric over the processes that show it; None when none does."""
        found = [value for past in self._pasts() for value in _chosen(past.now(name), labels)]
        return sum(found) if found else None

    def highest(self, name: str, **labels: str) -> float | None:
        """Return the highest value of a metric; None when nobody shows it."""
        return max(
            (value for past in self._pasts() for value in _chosen(past.now(name), labels)), default=None
        )

    def values_of(self, name: str, label: str) -> list[str]:
        """Return the values that a label has in any process, now or within the window."""
        series = {each for past in self._pasts() for each in (*past.now(name), *past.grown(name))}
        return sorted({dict(labels)[label] for labels in series if label in dict(labels)})

    def rate(self, name: str, **labels: str) -> float:
        """Return how fast a counter grows, a second, in all processes."""
        return sum(self.rate_of(process, name, **labels) for process in self.pasts)

    def rate_of(self, process: str, name: str, **labels: str) -> float:
        """Return how fast a counter of one process grows, a second."""
        past = self.pasts[process]
        seconds = past.seconds
        return sum(_chosen(past.grown(name), labels)) / seconds if seconds else 0.0

    def quantile(self, q: float, histogram: str, **labels: str) -> float | None:
        """Return a quantile of what was observed within the window; None when nothing was."""
        buckets: defaultdict[float, float] = defaultdict(float)
        for past in self._pasts():
            for found, value in past.grown(f"{histogram}_bucket").items():
                if labels.items() <= found:
                    buckets[float(dict(found)["le"])] += value
        return quantile(q, sorted(buckets.items()))

    def _pasts(self) -> Iterable[Past]:
        return self.pasts.values()


def _chosen(series: Mapping[Labels, float], labels: Mapping[str, str]) -> Iterator[float]:
    return (value for found, value in series.items() if labels.items() <= found)


def quantile(q: float, buckets: list[tuple[float, float]]) -> float | None:
    """Return the quantile of cumulative counts by their upper bounds, linear within a bucket.

    What lies beyond the last finite bound counts as that bound.
    """
    total = buckets[-1][1] if buckets else 0.0
    if not total:
        return None
    below, lower = 0.0, 0.0
    for bound, count in buckets:
        if count >= q * total:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (q * total - below) / (count - below) if count > below else bound
        below, lower = count, bound
    return lower
