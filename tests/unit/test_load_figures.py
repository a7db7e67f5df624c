"""What a run measured becomes figures, and figures become verdicts, without flattering anybody."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from loadtest import record, samples
from loadtest.samples import Sample, figures, percentile
from loadtest.summary import summary
from loadtest.verdicts import PROMISES, as_json, word

KEPT = "kept"


def run(taken: list[Sample], *, shape: str = "steady30", late: int = 0, **more: object) -> dict[str, Any]:
    """Return the summary of a run with these samples."""
    accepts = [each for each in taken if each.step == "accept"]
    dones = [each for each in taken if each.step == "done"]
    failed = [each for each in taken if not each.reason.startswith("wrong-")]
    outcome = {
        "shape": shape,
        "loop": "open",
        "whole": True,
        "seconds": 10.0,
        "generator_priority": 0,
        "generator_cpu_seconds": 1.0,
        "phases": [{"name": "level", "rate": 1.0, "begin": 0.0, "end": 10.0}],
        "counts": {
            "asked": len(accepts),
            "accepted": sum(each.outcome == "ok" for each in accepts),
            "served": sum(each.outcome == "ok" for each in dones),
            "refused": sum(each.outcome == "refused" for each in taken),
            "errors": sum(each.outcome == "error" for each in failed),
            "wrong": sum(each.reason.startswith("wrong-") for each in dones),
            "late": late,
        },
    }
    return summary(outcome | more, taken)


def photo(planned: float, *, accept: float = 0.05, done: float = 0.3) -> list[Sample]:
    return [
        Sample("accept", planned, 0.0, accept, "ok", ""),
        Sample("done", planned, 0.0, done, "ok", ""),
    ]


def photos(count: int, **more: float) -> list[Sample]:
    return [each for n in range(count) for each in photo(n * 10 / count, **more)]


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, of) for of in (50, 95, 99, 99.9, 100)] == [50, 95, 99, 100, 100]
    assert percentile([3.0], 95) == 3.0
    assert percentile([1.0, 2.0], 50) == 1.0


def test_of_nothing_there_is_no_percentile() -> None:
    assert math.isnan(percentile([], 95))
    assert figures([])["count"] == 0


def test_a_run_that_kept_everything_is_kept() -> None:
    assert word(run(photos(100))) == KEPT


@pytest.mark.parametrize(
    ("spoil", "about"),
    [
        ([Sample("accept", 1, 0, 0.1, "refused", "refused")], "errors and refusals"),
        ([Sample("accept", 1, 0, 0.1, "error", "server")], "errors and refusals"),
        (
            [Sample("accept", 1, 0, 0.1, "ok", ""), Sample("done", 1, 0, 0.3, "error", "wrong-size")],
            "wrong results",
        ),
        # accepted and never heard of again: no sample says so, and it counts all the same
        ([Sample("accept", 1, 0, 0.1, "ok", "")], "errors and refusals"),
    ],
)
def test_one_thing_that_went_wrong_breaks_a_promise(spoil: list[Sample], about: str) -> None:
    found = run([*photos(100), *spoil])
    assert word(found) == "BROKEN"
    assert [each["about"] for each in as_json(found)["promises"] if not each["holds"]] == [about]


def test_slow_answers_break_a_promise_however_many_were_fast() -> None:
    taken = [*photos(94), *(each for n in range(6) for each in photo(n, accept=0.2))]
    broken = [each["about"] for each in as_json(run(taken))["promises"] if not each["holds"]]
    assert broken == ["accept, p95"]


def test_a_photo_that_never_came_back_counts_with_the_wait_for_it() -> None:
    lost = [
        each
        for n in range(6)
        for each in (
            Sample("accept", n, 0, 0.05, "ok", ""),
            Sample("done", n, 0, 60.0, "error", "lost"),
        )
    ]
    found = run([*photos(94), *lost])
    assert found["steps"]["done"]["p95"] == 60
    assert found["lost"] == 6


def test_a_run_whose_generator_was_late_proves_nothing() -> None:
    assert word(run(photos(100), late=1)) == KEPT
    found = run(photos(100), late=2)
    assert word(found) == "INVALID"
    assert as_json(found)["verdict"] == "INVALID"


def test_what_was_not_measured_is_not_kept() -> None:
    found = run([each for each in photos(100) if each.step != "done"], counts=run(photos(100))["counts"])
    assert word(found) == "BROKEN"


def test_stairs_tell_what_was_sustained_and_what_was_left_beyond() -> None:
    names = ("climb", "climb", "beyond", "recovery")
    phases = [
        {"name": name, "rate": rate, "begin": 10.0 * n, "end": 10.0 * n + 10}
        for n, (name, rate) in enumerate(zip(names, (2.0, 4.0, 8.0, 1.0), strict=True))
    ]
    taken = [
        *(each for n in range(20) for each in photo(n / 2)),
        *(each for n in range(40) for each in photo(10 + n / 4, done=5)),
        *(each for n in range(30) for each in photo(20 + n / 3, done=0.5)),
        *(Sample("accept", 20 + n / 5, 0, 0.01, "refused", "refused") for n in range(50)),
        *(each for n in range(10) for each in photo(30.5 + n, done=0.4)),
    ]
    found = run(taken, shape="stairs", phases=phases, seconds=41.0)
    stairs = found["stairs"]
    assert stairs["sustained_per_second"] == 2  # at 4 they took too long
    assert stairs["refused_beyond"] == 50
    assert stairs["recovered_p95"] == pytest.approx(0.4)
    assert [phase["sustained"] for phase in found["by_phase"]] == [True, False, False, True]
    assert word(found) == KEPT  # refusals are honest there


def test_stairs_whose_throughput_falls_are_broken() -> None:
    names = ("climb", "beyond", "recovery")
    phases = [
        {"name": name, "rate": 2.0, "begin": 10.0 * n, "end": 10.0 * n + 10} for n, name in enumerate(names)
    ]
    taken = [
        *(each for n in range(20) for each in photo(n / 2)),
        *(each for n in range(10) for each in photo(10 + n)),
        *(each for n in range(10) for each in photo(20 + n)),
    ]
    found = run(taken, shape="stairs", phases=phases)
    assert found["stairs"]["kept_beyond"] == pytest.approx(0.5)
    assert word(found) == "BROKEN"


def test_every_shape_has_promises_and_those_have_figures() -> None:
    found = run(photos(100))
    for shape in PROMISES:
        assert as_json(found | {"shape": shape})["promises"], shape


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    taken = [Sample("accept", 0.25, 0.001, 0.0312, "ok", ""), Sample("done", 1.5, 0.0, 2.0, "error", "lost")]
    samples.write(tmp_path / "a.csv.gz", taken)
    samples.write(tmp_path / "b.csv.gz", taken)
    assert list(samples.read(tmp_path / "a.csv.gz")) == taken
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def test_what_was_not_measured_is_null_for_programs() -> None:
    assert json.loads(record.dumped({"p95": math.nan, "all": [1.5, math.inf]})) == {
        "p95": None,
        "all": [1.5, None],
    }
