"""The chapter of the manual is what its report says."""

import json
import re
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.chaos import acts
from tests.chaos.arena import Arena
from tests.chaos.faults import CATALOGUE, KEPT
from tests.chaos.report import LAST, MANUAL, chapter, successor, written
from tests.chaos.run import choose

ROOT = Path(__file__).parents[2]


def test_the_manual_tells_of_the_last_run() -> None:
    manual = (ROOT / MANUAL).read_text("utf-8")
    assert written(manual, json.loads(LAST.read_text("utf-8"))) == manual


def test_a_violation_and_a_system_that_never_came_back_are_told() -> None:
    report: dict[str, Any] = json.loads(LAST.read_text("utf-8"))
    for verdict, violations in zip(report["verdicts"], [3, *[0] * 99], strict=False):
        verdict["violations"] = violations
    report["recovery"] = {"kill kafka": [-1.0], "kill ingest": [1.0, 4.0, -1.0]}
    told = chapter(report)
    assert "Violations: 3." in told
    assert "| 1 | never |" in told
    assert "| 3 | 2.5 s, 4.0 s, never |" in told


def test_every_fault_stands_in_the_manual_as_in_the_table() -> None:
    manual = (ROOT / MANUAL).read_text("utf-8")
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in manual.splitlines() if line[:2] == "| "}
    for fault in CATALOGUE.values():
        assert rows[fault.kind].startswith(f"| {fault.kind} | {fault.how} | ")
        besides = rows[fault.kind].split(" | ")[2]
        assert fault.passes == (f"{besides}; {KEPT}" if besides.strip() else KEPT)


def test_a_kind_that_did_not_strike_is_told_too() -> None:
    report: dict[str, Any] = json.loads(LAST.read_text("utf-8")) | {"recovery": {}}
    told = [line for line in chapter(report).splitlines() if line.endswith("| 0 | — |")]
    assert len(told) == len({fault.kind for fault in CATALOGUE.values()})


def test_a_short_run_does_not_take_the_place_of_a_long_one() -> None:
    last: dict[str, Any] = json.loads(LAST.read_text("utf-8"))
    clean = last | {"verdicts": [verdict | {"violations": 0} for verdict in last["verdicts"]]}
    assert successor(clean, last) == clean
    spoilt = clean | {"verdicts": [*clean["verdicts"], {"violations": 1}]}
    with pytest.raises(ValueError, match="to be mended"):
        successor(spoilt, last)
    with pytest.raises(ValueError, match="and this run is of 20"):
        successor(last | {"faults": 20}, last)


def test_the_run_of_every_change_is_short_and_meets_nearly_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "clock", lambda: "here")
    script, arena = (ROOT / ".ci/run").read_text("utf-8"), cast("Arena", SimpleNamespace(spool_is_small=True))
    found = re.search(r"chaos ARGS=.--seed (\d+) --minutes 3 --faults 20 ", script)
    assert found is not None
    faults = choose(Random(int(found[1])), arena, lambda _: None)
    assert len({next(faults).how for _ in range(20)}) == 20


def test_a_manual_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="has no place for it"):
        written("# Operating", json.loads(LAST.read_text("utf-8")))


def test_the_same_seed_chooses_the_same_faults_and_each_before_any_comes_again() -> None:
    arena = cast("Arena", SimpleNamespace(spool_is_small=True))

    def chosen(seed: int) -> list[str]:
        faults = choose(Random(seed), arena, lambda _: None)
        return [next(faults).name for _ in range(30)]

    assert chosen(7) == chosen(7) != chosen(8)
    assert len(set(chosen(7))) == 30
    assert len(CATALOGUE) > 40
