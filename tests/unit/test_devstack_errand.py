"""A command of the local stack that is run now and then."""

from pathlib import Path

import pytest

from devstack.errand import Errand
from devstack.process import Process
from tests.people import eventually


def errand(folder: Path, line: str) -> Errand:
    process = Process("errand", ["/bin/sh", "-c", line], log=folder / "log")
    return Errand(process, first=5, every=10, now=0)


def ended(errand: Errand) -> None:
    eventually(lambda: errand.process.exit_code, lambda code: code is not None)


def test_it_is_run_when_it_is_due_and_not_before(tmp_path: Path) -> None:
    one = errand(tmp_path, "echo run")
    assert [one.tend(4), one.tend(5)] == [False, True]
    ended(one)
    assert [one.tend(14), one.tend(15)] == [False, True]
    ended(one)
    assert (tmp_path / "log").read_text("utf-8") == "run\nrun\n"


def test_it_is_not_run_twice_at_once(tmp_path: Path) -> None:
    one = errand(tmp_path, "exec sleep 600")
    assert one.tend(10)
    try:
        assert not one.tend(20)
    finally:
        one.process.kill()
    assert one.tend(21)
    one.process.kill()


def test_a_failure_is_said_once_and_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = errand(tmp_path, "echo no lock; exit 3")
    one.tend(10)
    ended(one)
    assert [one.tend(11), one.tend(12)] == [False, False]
    assert capsys.readouterr().out == "errand ended with 3:\nno lock\n"
    assert one.tend(20)
    ended(one)


def test_what_cannot_be_started_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    one = Errand(Process("errand", ["true"], log=tmp_path / "file" / "log"), first=5, every=10, now=0)
    assert not one.tend(10)
    assert "errand cannot be started" in capsys.readouterr().out
