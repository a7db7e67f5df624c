"""A photo costs what processes spend beyond their rest, and no rest that is overrated makes it cheaper."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadtest import bench, spending
from loadtest.bench import Bench
from loadtest.spending import OURS, SERVERS

GROUPS = (*OURS, *SERVERS)


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeBench(Bench):
    """A bench whose processes spend what the test says, by the clock and for every photo."""

    def __init__(self, clock: FakeTime, at_rest: Callable[[str, float], float]) -> None:
        super().__init__("http://127.0.0.1:1", {})
        self._clock = clock
        self._at_rest = at_rest
        self.photos = 0

    def spent(self) -> dict[str, float]:
        return {
            name: self._at_rest(name, self._clock.now) + 0.001 * self.photos * (n + 1)
            for n, name in enumerate(GROUPS)
        }


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    made = FakeTime()
    monkeypatch.setattr(bench, "time", made)
    return made


def measured(clock: FakeTime, at_rest: Callable[[str, float], float]) -> dict[str, Any]:
    """Measure 100 photos in 10 s; each costs every group one millisecond more than the group before."""
    fake = FakeBench(clock, at_rest)

    def work() -> None:
        fake.photos += 100
        clock.sleep(10)

    found = fake.measured(100, work, rest=15)
    return {"size": "0.3MP", "kind": "single-photo jobs", "bytes": 1, "bare_ms": 2.0, **found}


def test_a_steady_rest_is_taken_off_exactly(clock: FakeTime) -> None:
    row = measured(clock, lambda name, now: 0.05 * now if name == "kafka" else 0.0)
    assert row["cpu_ms"] == pytest.approx({name: n + 1 for n, name in enumerate(GROUPS)})
    assert row["rest_differs_ms"] == pytest.approx(0)
    assert spending.sums(row) == pytest.approx((1 + 2 + 3 + 4 + 5, 6 + 7 + 8))


def test_a_rest_that_grows_is_taken_off_by_its_mean_and_told_as_uncertain(clock: FakeTime) -> None:
    row = measured(clock, lambda name, now: 0.0005 * (now - 1000) ** 2 if name == "worker" else 0.0)
    assert row["cpu_ms"]["worker"] == pytest.approx(2, abs=0.3)
    before, after = (rest["worker"] for rest in row["rest_share_of_a_core"])
    assert after > before > 0
    assert row["rest_differs_ms"] == pytest.approx(1000 * 10 / 100 * (after - before) / 2)


def test_a_group_that_rested_while_others_worked_takes_nothing_from_the_sums(clock: FakeTime) -> None:
    def hectic(name: str, now: float) -> float:
        """All of the janitor's time before and after the work, which begins at 1017 and takes 10 s."""
        return 0.1 * (min(now, 1017) + max(now, 1027)) if name == "janitor" else 0.0

    row = measured(clock, hectic)
    assert row["cpu_ms"]["janitor"] == pytest.approx(5 - 10)
    assert spending.sums(row)[0] == pytest.approx(1 + 2 + 3 + 4)
    said = spending.table([row])
    assert "| -5.0 |" in said
    assert "| 10.0 | 31.0 | 0.0 | 2.0 | 5.00 |" in said
    assert "Below zero, and left out of the sums: janitor -5.0 (0.3MP, single-photo jobs)." in said


def kept(folder: Path, name: str, *, slow: float = 0.0, **more: object) -> None:
    spent = dict.fromkeys(GROUPS, 1.0) | {"janitor": -0.7}
    rows = [
        {
            "size": "0.3MP",
            "kind": "single-photo jobs",
            "cpu_ms": spent | {"kafka": 1.0 + slow},
            "bare_ms": 1.0,
        },
        {"size": "0.3MP", "kind": "single-photo jobs, all it serves", "cpu_ms": spent, "bare_ms": 1.0},
        {"size": "12MP", "kind": "one job of 16", "cpu_ms": spent | {"children": 97.0}, "bare_ms": 80.0},
    ]
    for row, rate in zip(rows, (20, 50, 1), strict=True):
        row |= {"photos": 100, "seconds": 100 / rate, "rest_differs_ms": 0.7}
    run = {"at": "2026-01-01", "commit": name, "machine": {"cores": 2, "cpu": "Z80"}, "rows": rows, **more}
    (folder / f"{name}.json").write_text(json.dumps(run), "utf-8")


def test_the_readme_s_table_is_of_the_newest_bench_and_says_what_it_shows(tmp_path: Path) -> None:
    kept(tmp_path, "old")
    kept(tmp_path, "new", at="2026-02-01")
    kept(tmp_path, "imaging", at="2026-03-01", rows=[{"recipe": "watermark"}])
    (tmp_path / "load.json").write_text('{"at": "2026-04-01", "shape": "burst"}')
    said = spending.summary(spending.newest(tmp_path))
    assert "| 0.3 MP | a job of its own, 20 a second | 4.0 | 3.0 | 7.0 | 1.0 |" in said
    assert "| 0.3 MP | a job of its own, six senders without a pause | 4.0 | 3.0 | 7.0 | 1.0 |" in said
    assert "| 12 MP | one of 16 | 100.0 | 3.0 | 103.0 | 80.0 |" in said
    assert "on 12 MP 1.25 times what Pillow alone does, on a job of one photo of 0.3 MP 4.0 times" in said
    assert "counted as nothing: janitor, by 0.7 at most." in said
    assert "30 in all; it is reached." in said
    assert said.endswith("Measured on 2 cores (Z80), the sender included, at new.")


def test_the_readme_says_when_the_aim_is_reached_under_load_only(tmp_path: Path) -> None:
    kept(tmp_path, "new", slow=24.0)
    said = spending.summary(spending.newest(tmp_path))
    assert "30 in all; it is reached when there is much to do (± 0.7), and not" in said


def test_a_readme_without_any_bench_says_so(tmp_path: Path) -> None:
    assert spending.summary(spending.newest(tmp_path)) == "No bench was kept yet."
