"""The chapter of the manual is what its report says."""

import json
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.chaos.arena import Arena
from tests.chaos.faults import CATALOGUE
from tests.chaos.report import LAST, MANUAL, chapter, written
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
    assert "| kill kafka | 1 | never |" in told
    assert "| kill ingest | 3 | 2.5 s, 4.0 s |" in told


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
