"""`ebbmark dlq` against ingest with its ports in memory, over a real connection."""

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
import uvicorn
from structlog.testing import capture_logs

from ebbmark import dlq
from ebbmark.ledger.letters import letter_id
from ebbmark.settings import Operator, Settings
from tests.system import free_port
from tests.unit.test_deadletters import TOKEN, message, order, poison
from tests.unit.visits import House

NOBODY = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _token_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBBMARK_OPERATOR_TOKEN", TOKEN)


@contextmanager
def serving(house: House) -> Iterator[str]:
    port = free_port()
    config = uvicorn.Config(house.app, host="127.0.0.1", port=port, log_config=None, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


class Desk:
    """An operator's terminal."""

    def __init__(self, house: House, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.house = house
        self.url = url
        self._capsys = capsys
        self.err = ""

    def run(self, *words: str, url: str | None = None) -> tuple[int, str]:
        """Return the exit code and what was printed."""
        parser = argparse.ArgumentParser()
        dlq.add_arguments(parser)
        code = dlq.run(parser.parse_args([*words, "--url", url or self.url]))
        out, self.err = self._capsys.readouterr()
        assert TOKEN not in out + self.err
        return code, out


@pytest.fixture
def desk(capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    house = House(Settings(operator=Operator(token=TOKEN)))
    with capture_logs(), serving(house) as url:  # it shares this process's output
        yield Desk(house, url, capsys)


def filled(desk: Desk) -> UUID:
    """Enter a letter of each kind; return the job of the photo's."""
    asyncio.run(desk.house.ledger.letters.enter(message(desk.house)))
    asyncio.run(desk.house.ledger.letters.enter(order(desk.house)))
    return asyncio.run(poison(desk.house))


def test_letters_are_listed_as_a_table(desk: Desk) -> None:
    job = filled(desk)
    code, out = desk.run("list")
    head, *rows = out.splitlines()
    assert code == 0
    assert head.split() == ["ID", "REASON", "STATE", "AGE", "TOPIC", "JOB", "N", "ATTEMPTS", "REDRIVES"]
    assert [row.split()[1] for row in rows] == ["poison", "handler-failed", "malformed-event"]
    assert str(job) in rows[0]
    assert desk.run("list", "--reason", "poison")[1].count("\n") == 2
    assert desk.run("list", "--state", "resolved") == (0, "")


def test_as_many_are_listed_as_are_asked_for(desk: Desk) -> None:
    for offset in range(205):
        asyncio.run(desk.house.ledger.letters.enter(message(desk.house, offset)))
    all_of_them = json.loads(desk.run("list", "--json", "--limit", "1000")[1])
    assert [each["offset"] for each in all_of_them["letters"]] == list(range(204, -1, -1))
    assert desk.err == ""
    assert len(json.loads(desk.run("list", "--json", "--limit", "3")[1])["letters"]) == 3
    assert "there are more" in desk.err


def test_one_letter_is_shown_and_cannot_steer_the_terminal(desk: Desk) -> None:
    letter = message(desk.house, original=b"\x1b[2J\xff")
    asyncio.run(desk.house.ledger.letters.enter(letter))
    code, out = desk.run("show", letter_id(letter))
    assert code == 0
    assert r"\x1b[2J\xff" in out
    assert "\x1b" not in out
    assert "nothing reads it better" in out
    assert json.loads(desk.run("show", letter_id(letter), "--json")[1])["refusal"] == "malformed"


def test_counting_needs_no_token(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(desk)
    monkeypatch.delenv("EBBMARK_OPERATOR_TOKEN")
    code, out = desk.run("stats")
    assert (code, out.splitlines()[-1]) == (0, "3 open, the oldest for 0 s")
    assert json.loads(desk.run("stats", "--json")[1])["open"] == 3


def test_a_dry_run_says_what_would_be_done_and_why_not_the_rest(desk: Desk) -> None:
    filled(desk)
    code, out = desk.run("redrive", "--all", "--dry-run")
    assert code == 1
    assert out.splitlines()[-1] == "2 would be redriven, 1 refused"
    assert "1 × malformed: " in out
    assert desk.house.log.records == []


def test_letters_are_redriven_by_reason_job_and_id(desk: Desk) -> None:
    job = filled(desk)
    assert desk.run("redrive", "--reason", "handler-failed", "--rate", "1000") == (
        0,
        "1 redriven, 0 refused\n",
    )
    assert desk.run("redrive", "--job", str(job))[0] == 0
    assert len(desk.house.log.records) == 2
    (again,) = json.loads(desk.run("list", "--json", "--job", str(job))[1])["letters"]
    assert desk.run("redrive", again["id"])[0] == 1
    summary = json.loads(desk.run("redrive", again["id"], "--json")[1])
    assert (summary["redriven"], summary["refused"]) == (0, 1)
    assert summary["outcomes"][0]["refusal"] == "not-open"


def test_more_than_one_request_may_carry_are_redriven_all_the_same(desk: Desk) -> None:
    for offset in range(203):
        asyncio.run(desk.house.ledger.letters.enter(order(desk.house, offset)))
    code, out = desk.run("redrive", "--all", "--rate", "1000")
    assert (code, out) == (0, "203 redriven, 0 refused\n")
    assert len(desk.house.log.records) == 203


def test_letters_are_resolved(desk: Desk) -> None:
    filled(desk)
    letter = letter_id(message(desk.house))
    assert desk.run("resolve", letter) == (0, "1 resolved\n")
    assert desk.run("list", "--state", "resolved")[1].count("malformed-event") == 1
    assert desk.run("resolve", letter, "--json")[0] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["redrive"], "say which letters"),
        (["redrive", "--all", "--reason", "poison"], "say which letters"),
        (["redrive", "--all", "--rate", "nan"], "a rate is"),
        (["redrive", "../x"], "not the id of a letter"),
        (["show", "0" * 32], "(unknown-letter)"),
        (["list", "--token", "a wrong token"], "(operator-token-wrong)"),
        (["list", "--token", "ü"], "printable ASCII"),
    ],
)
def test_what_is_wrong_is_said_and_ends_with_2(desk: Desk, words: list[str], sentence: str) -> None:
    assert desk.run(*words) == (2, "")
    assert sentence in desk.err


def test_without_a_token_it_says_where_to_set_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EBBMARK_OPERATOR_TOKEN")
    assert desk.run("list") == (2, "")
    assert "EBBMARK_OPERATOR_TOKEN" in desk.err


def test_the_token_may_stand_in_a_file(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EBBMARK_OPERATOR_TOKEN")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("EBBMARK_OPERATOR_TOKEN_FILE", str(tmp_path / "token"))
    assert desk.run("list")[0] == 0
    monkeypatch.setenv("EBBMARK_OPERATOR_TOKEN_FILE", str(tmp_path / "none"))
    assert desk.run("list")[0] == 2


def test_a_server_that_is_away_ends_with_3(desk: Desk) -> None:
    assert desk.run("list", url=NOBODY) == (3, "")
    desk.house.ledger.down = True
    assert desk.run("stats") == (3, "")
    assert "(ledger-unavailable)" in desk.err
    assert desk.run("stats", url="ftp://x")[0] == 2
