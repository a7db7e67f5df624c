"""`ebbmark send` gets along with a server that is busy, away or strange, and accounts for every photo."""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from ebbmark import send
from tests.people import eventually
from tests.unit.fake_ebbmark import JOB, PATIENCE, FakeEbbmark, serving

ALL_DONE, SOME_FAILED, WRONG, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 130


@pytest.fixture
def ebbmark() -> Generator[FakeEbbmark]:
    with serving(FakeEbbmark()) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.JPG"):
        (photos / name).write_bytes(name.encode())
    return photos


def ran(folder: Path, url: str, *words: str) -> int:
    parser = argparse.ArgumentParser()
    send.add_arguments(parser)
    out = str(folder.parent / "out")
    return send.run(parser.parse_args([str(folder), "--url", url, "--out", out, *(words or ["--grayscale"])]))


def summed_up(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def results(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder.parent / "out").iterdir()}


def test_photos_go_there_and_results_come_back(
    ebbmark: FakeEbbmark, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "Гора.jpg").write_bytes(b"mountain")
    assert ran(folder, ebbmark.url, "--text", "© Ann", "--json") == ALL_DONE
    assert ebbmark.photos[2] == ("Гора.jpg", b"mountain")
    assert ebbmark.total == 3
    assert b'name="watermark.text"' in ebbmark.form
    assert "© Ann".encode() in ebbmark.form
    said = capsys.readouterr()
    summary = json.loads(said.out)
    assert (summary["total"], summary["done"], summary["failed"]) == (3, 3, 0)
    assert (summary["job"], summary["state"]) == (ebbmark.url + JOB, "complete")
    assert summary["files"][2] == {
        "n": 2,
        "source": str(folder / "Гора.jpg"),
        "file": str(folder.parent / "out" / "Гора.jpg"),
    }
    assert (summary["failures"], summary["unfinished"]) == ([], [])
    assert results(folder)["Гора.jpg"] == b"result of mountain"
    assert said.err.startswith(f"the job is at {ebbmark.url}{JOB}\n")
    assert "3 of 3 done\n" in said.err
    assert "\033" not in said.err


def test_what_changes_is_heard_from_the_event_stream_and_not_asked_for(
    ebbmark: FakeEbbmark, folder: Path
) -> None:
    assert ran(folder, ebbmark.url) == ALL_DONE
    assert ebbmark.asked[f"GET {JOB}"] == 0


@pytest.mark.parametrize("stream", [True, False])
def test_a_result_comes_while_photos_still_go(folder: Path, stream: bool) -> None:  # noqa: FBT001
    came: list[bool] = []

    def until_one_was_fetched(n: int) -> None:
        if n == 1:
            came.append(server.fetched.wait(PATIENCE))

    with serving(FakeEbbmark(stream=stream, before_put=until_one_was_fetched)) as server:
        assert ran(folder, server.url) == ALL_DONE
    assert came == [True]
    assert len(results(folder)) == 2


def test_a_refused_file_is_named_and_the_others_come_back(
    ebbmark: FakeEbbmark, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.jpg").write_bytes(b"")
    assert ran(folder, ebbmark.url) == SOME_FAILED
    assert ebbmark.total == 2
    assert f"{folder}/a.jpg: It is empty. (empty-file)\n" in capsys.readouterr().err
    assert results(folder) == {"b.JPG": b"result of b.JPG"}


@pytest.mark.parametrize("stale", [1, 3])
def test_a_status_that_comes_late_does_not_keep_the_job_from_being_sealed(folder: Path, stale: int) -> None:
    (folder / "b.JPG").write_bytes(b"")
    with serving(FakeEbbmark(stream=False, stale=stale)) as server:
        assert ran(folder, server.url, "--grayscale", "--no-wait") == SOME_FAILED
    assert server.total == 2


def test_what_was_entered_is_known_without_asking(folder: Path) -> None:
    with serving(FakeEbbmark(stale=1000)) as server:
        assert ran(folder, server.url, "--grayscale", "--no-wait") == ALL_DONE
    assert server.total == 2


def test_what_the_server_did_not_even_enter_is_not_sealed_and_has_failed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(FakeEbbmark(most=1)) as server:
        assert ran(folder, server.url, "--grayscale", "--json") == SOME_FAILED
    assert server.total == 1
    summary = summed_up(capsys)
    assert (summary["total"], summary["done"], summary["failed"]) == (2, 1, 1)
    assert summary["failures"] == [
        {"n": 1, "source": f"{folder}/b.JPG", "code": "too-many-files", "detail": "That is too many."}
    ]


def test_a_job_of_which_nothing_was_entered_is_wrong_input_and_deleted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(FakeEbbmark(most=0)) as server:
        assert ran(folder, server.url, "--grayscale", "--json") == WRONG
    assert server.total is None
    assert server.deleted.is_set()
    said = capsys.readouterr()
    assert "ebbmark send: That is too many. (too-many-files); the job is deleted\n" in said.err
    assert [each["n"] for each in json.loads(said.out)["failures"]] == [0, 1]


def test_a_file_that_is_gone_fails_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(FakeEbbmark(on_open=(folder / "a.jpg").unlink)) as server:
        assert ran(folder, server.url, "--grayscale", "--json") == SOME_FAILED
    assert server.total == 1
    summary = summed_up(capsys)
    assert [(each["n"], each["code"]) for each in summary["failures"]] == [(0, "unreadable-file")]
    assert [each["n"] for each in summary["files"]] == [1]


def test_a_result_that_cannot_be_fetched_fails_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(FakeEbbmark(lost=frozenset({0}))) as server:
        assert ran(folder, server.url, "--grayscale", "--json") == SOME_FAILED
    summary = summed_up(capsys)
    assert (summary["done"], summary["failed"], summary["unfinished"]) == (1, 1, [])
    assert [(each["n"], each["code"]) for each in summary["failures"]] == [(0, "unknown-photo")]
    assert [Path(each["file"]).name for each in summary["files"]] == ["b.JPG"]


def test_a_result_that_cannot_be_written_is_accounted_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(FakeEbbmark(on_open=lambda: shutil.rmtree(folder.parent / "out"))) as server:
        assert ran(folder, server.url, "--grayscale", "--json") == SOME_FAILED
    summary = summed_up(capsys)
    assert (summary["job"], summary["state"]) == (server.url + JOB, "complete")
    assert [each["code"] for each in summary["failures"]] == ["unwritable-file"] * 2


def test_a_server_that_goes_away_for_good_leaves_the_link_and_what_was_saved(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebbmark.sending.server._TRIES", 2)
    with ExitStack() as stack:
        server = stack.enter_context(serving(FakeEbbmark(stream=False, never=frozenset({1}))))

        def go_away() -> None:
            assert server.fetched.wait(PATIENCE)
            assert server.sealed.wait(PATIENCE)
            server.drops = 1_000_000

        leaving = threading.Thread(target=go_away)
        leaving.start()
        assert ran(folder, server.url, "--grayscale", "--json") == UNAVAILABLE
        leaving.join()
    said = capsys.readouterr()
    summary = json.loads(said.out)
    assert [each["n"] for each in summary["files"]] == [0]
    assert summary["unfinished"] == [{"n": 1, "source": f"{folder}/b.JPG"}]
    assert "waiting for the server …\n" in said.err
    rest = f"the rest is at {server.url}{JOB}"
    assert f"ebbmark send: nobody answers at {server.url}; {rest}\n" in said.err


def test_names_that_no_encoding_knows_are_sent_and_told(
    ebbmark: FakeEbbmark, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = folder / os.fsdecode(b"\xe9t\xe9.jpg")
    odd.write_bytes(b"coffee")
    (folder / "a\u2028b.jpg").write_bytes(b"lines")
    assert ran(folder, ebbmark.url, "--grayscale", "--json") == ALL_DONE
    assert {name for name, _ in ebbmark.photos.values()} == {"a.jpg", "b.JPG", "\ufffdt\ufffd.jpg", "ab.jpg"}
    assert str(odd) in {each["source"] for each in summed_up(capsys)["files"]}


def test_a_name_cannot_write_on_the_terminal(
    ebbmark: FakeEbbmark, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a\x1b[2J\n\udce9.jpg").write_bytes(b"")
    assert ran(folder, ebbmark.url) == SOME_FAILED
    assert f"{folder}/a\\x1b[2J\\n\\udce9.jpg: It is empty. (empty-file)\n" in capsys.readouterr().err


def test_a_name_with_a_line_separator_breaks_no_event(folder: Path) -> None:
    (folder / "a\u2028b\x85c.jpg").write_bytes(b"lines")
    with serving(FakeEbbmark(kept_name=str)) as server:
        assert ran(folder, server.url) == ALL_DONE
    assert server.asked[f"GET {JOB}"] == 0
    assert results(folder)["a\u2028b\x85c.jpg"] == b"result of lines"


def test_namesakes_are_numbered_as_in_the_archive_whichever_is_done_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("c", "d", "e"):
        (folder / place).mkdir()
        (folder / place / "A.jpg").write_bytes(place.encode())
    with serving(FakeEbbmark(late=frozenset({0, 2}))) as server:
        assert ran(folder, server.url, "--grayscale", "--json") == ALL_DONE
    saved = {each["n"]: Path(each["file"]).name for each in summed_up(capsys)["files"]}
    assert saved == server.names()
    assert saved[0] == "a.jpg"
    assert results(folder)["A (2).jpg"] == b"result of c"


@pytest.mark.parametrize("trouble", [{"busy": 2}, {"drops": 2}])
def test_what_was_not_answered_is_sent_again_under_the_same_key(
    folder: Path, trouble: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(FakeEbbmark(stream=False, **trouble)) as server:
        assert ran(folder, server.url) == ALL_DONE
    assert set(results(folder)) == {"a.jpg", "b.JPG"}
    assert len(server.keys) == 3
    assert {len(key) for key in server.keys} == {32}
    assert len(set(server.keys)) == 1
    for request in (f"PUT {JOB}/photos/0", f"POST {JOB}/seal", f"GET {JOB}/photos/1"):
        assert server.asked[request] == 3
    assert "waiting for the server …\n" in capsys.readouterr().err


def test_nobody_comes_again_sooner_than_the_server_asked(folder: Path) -> None:
    with serving(FakeEbbmark(busy=1, retry_after=1)) as server:
        assert ran(folder, server.url) == ALL_DONE
    assert server.asked[f"PUT {JOB}/photos/0"] == 2
    assert server.too_soon == []


def test_a_server_that_asks_for_a_day_is_not_given_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ebbmark.sending.server._LONGEST_ASKED", 0.01)
    with serving(FakeEbbmark(busy=1, retry_after=86400)) as server:
        assert ran(folder, server.url) == ALL_DONE
    assert f"PUT {JOB}/photos/0" in server.too_soon


def test_without_an_event_stream_it_asks(folder: Path) -> None:
    with serving(FakeEbbmark(stream=False)) as server:
        assert ran(folder, server.url) == ALL_DONE
    assert len(results(folder)) == 2


def test_who_does_not_wait_gets_the_link(
    ebbmark: FakeEbbmark, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(folder, ebbmark.url, "--grayscale", "--no-wait") == ALL_DONE
    assert capsys.readouterr().out == f"{ebbmark.url}{JOB}\n"
    assert ebbmark.total == 2
    assert not (folder.parent / "out").exists()


def test_a_server_that_is_not_there_ends_with_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(folder, "http://127.0.0.1:9") == UNAVAILABLE
    assert capsys.readouterr().err == (
        "waiting for the server …\nebbmark send: nobody answers at http://127.0.0.1:9\n"
    )


def test_a_host_that_drops_every_packet_is_given_up_as_soon(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebbmark.sending.server._TIMES", httpx.Timeout(60, connect=0.2))
    monkeypatch.setattr("ebbmark.sending.server._FIRST_TRIES", 2)
    monkeypatch.setattr("ebbmark.sending.server._TRIES", 1_000_000)
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(2):  # what is in the queue of a listener keeps all others out
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        assert ran(folder, f"http://127.0.0.1:{deaf.getsockname()[1]}") == UNAVAILABLE


@pytest.mark.parametrize("url", ["example", "ftp://127.0.0.1", "http://"])
def test_what_is_no_address_ends_with_2(folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(folder, url) == WRONG
    assert f"not an address: {url}" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_noticed_before_anything_is_sent(
    ebbmark: FakeEbbmark, folder: Path
) -> None:
    (folder.parent / "out").write_text("a file")
    assert ran(folder, ebbmark.url) == WRONG
    assert not ebbmark.keys


def started(folder: Path, server: FakeEbbmark, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "ebbmark.cli", "send", str(folder), "--url", server.url),
            *("--out", str(folder.parent / "out"), "--grayscale", "--json", *words),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs tests in the background has them ignore the signal, and their children, too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )


@pytest.mark.parametrize("words", [[], ["--no-wait"]])
def test_ctrl_c_while_photos_go_stops_at_once_and_deletes_the_job(folder: Path, words: list[str]) -> None:
    hold = threading.Event()
    with serving(FakeEbbmark(before_put=lambda _: hold.wait(2 * PATIENCE))) as server:
        with started(folder, server, *words) as command:
            assert server.putting.wait(PATIENCE)
            command.send_signal(signal.SIGINT)
            out, err = command.communicate(timeout=PATIENCE)
        hold.set()
    assert command.returncode == INTERRUPTED
    assert server.deleted.is_set()
    summary = json.loads(out)
    assert (summary["state"], len(summary["unfinished"])) == ("deleted", 2)
    assert "stopping …\n" in err
    assert err.endswith("ebbmark send: interrupted; the job is deleted\n")


def test_ctrl_c_after_the_seal_leaves_the_job_and_says_where_it_is(folder: Path) -> None:
    with (
        serving(FakeEbbmark(stream=False, never=frozenset({1}))) as server,
        started(folder, server) as command,
    ):
        assert server.sealed.wait(PATIENCE)
        asked = server.asked[f"GET {JOB}"]  # of three more, one was answered after the seal and read
        eventually(lambda: server.asked[f"GET {JOB}"], lambda now: now >= asked + 3)
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=PATIENCE)
    assert command.returncode == INTERRUPTED
    assert not server.deleted.is_set()
    assert json.loads(out)["state"] == "rendering"
    assert err.endswith(f"ebbmark send: interrupted; the rest is at {server.url}{JOB}\n")
