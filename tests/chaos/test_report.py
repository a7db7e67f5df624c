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
from tests.chaos.faults import CATALOGUE, KEPT, OUTAGES, outage
from tests.chaos.report import ELSEWHERE, LAST, MANUAL, chapter, successor, write_document, written
from tests.chaos.run import choose, outages

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


def test_every_promise_has_a_verdict_or_a_test_elsewhere() -> None:
    source = (ROOT / "tests/chaos/invariants.py").read_text("utf-8")
    judged = set(re.findall(r'"(I\d+)"', source))
    assert not judged & ELSEWHERE.keys()
    assert judged | ELSEWHERE.keys() == {f"I{n}" for n in range(1, 21)} - {"I15"}, "there is no I15"
    assert all((ROOT / test).is_file() for _, tests in ELSEWHERE.values() for test in tests)


def test_a_finished_run_is_in_the_manual_in_one_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last: dict[str, Any] = json.loads(LAST.read_text("utf-8"))
    run = last | {
        "commit": "abc1234",
        "seed": 4711,
        "faults": last["faults"] + 1,
        "verdicts": [{**verdict, "violations": 0} for verdict in last["verdicts"]],
        "recovery": {"kill kafka": [1.0, 3.0]},
        "outages": [{"of": "kafka", "seconds": 600.0, "back": 7.25}],
        "memory": {"ingest": {"rest": 100 * 1024**2, "highest": 130 * 1024**2}},
    }
    run.pop("remarks", None)
    (tmp_path / "run.json").write_text(json.dumps(run), "utf-8")
    (tmp_path / "remarked.json").write_text(json.dumps(run | {"remarks": ["Of that run alone."]}), "utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / MANUAL).write_text((ROOT / MANUAL).read_text("utf-8"), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tests.chaos.report.LAST", tmp_path / "last.json")
    (tmp_path / "last.json").write_text(LAST.read_text("utf-8"), "utf-8")
    write_document(tmp_path / "remarked.json")
    assert "Of that run alone." in (tmp_path / MANUAL).read_text("utf-8")
    write_document(tmp_path / "run.json")
    told = (tmp_path / MANUAL).read_text("utf-8")
    assert f"commit abc1234; seed 4711, {run['minutes']:g} min, {run['faults']} faults" in told
    assert "started anew on its data |  | 2 | 2.0 s, 3.0 s |" in told.replace(
        "503 or nothing meanwhile, never another error", ""
    )
    assert "kafka was gone for 600 s; a fresh job was complete 7.2 s after its return." in told
    assert "ingest 100, 130" in told
    assert all(f"| {verdict['invariant']} | {verdict['claim']} | " in told for verdict in run["verdicts"])
    assert "Of that run alone." not in told
    assert json.loads((tmp_path / "last.json").read_text("utf-8")) == run


def test_an_outage_is_of_whom_the_seed_says_or_of_who_is_named() -> None:
    def gone(seconds: float, of: str, seed: int = 1) -> list[str]:
        return [fault.name for fault in outages(Random(seed), seconds, of)]

    assert gone(0, "kafka") == []
    assert gone(600, "kafka") == ["outage of kafka"]
    assert gone(600, "each") == [f"outage of {name}" for name in OUTAGES]
    assert gone(600, "") == gone(600, "")
    assert {name for seed in range(40) for name in gone(600, "", seed)} == set(gone(600, "each"))
    assert outage("kafka", 600).holds == 600
