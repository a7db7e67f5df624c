"""Child processes of the local stack: measured, stopped, started again, and never left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import psutil
import pytest

from devstack import arrival, keeper, orphans, records
from devstack.arrival import wait_until_all_serve
from devstack.halt import Halt, Halted
from devstack.keeper import FIRST_PAUSE, LONGEST_PAUSE, SOUND_AFTER, Keeper, tend_all
from devstack.ports import choose
from devstack.process import MARK, DevstackError, Process, run, wait_until
from devstack.supervisor import Stack

FOREVER = "import time\nprint('begun', flush=True)\ntime.sleep(600)"
DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER
WITH_CHILD = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {FOREVER!r}])"
BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint('begun', flush=True)\ntime.sleep(600)"


def eventually(good: Callable[[], bool], *, within: float = 20) -> None:
    deadline = time.monotonic() + within
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Make processes that run some Python; none outlives the test."""
    made: list[Process] = []

    def make(code: str, **options: object) -> Process:
        log = tmp_path / "logs" / "some.log"
        made.append(Process("some", [sys.executable, "-c", code], log=log, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for process in made:
        process.kill()


def begun(process: Process, times: int = 1) -> bool:
    return process.tail(1000).count("begun") >= times


class TestProcess:
    def test_its_output_is_in_its_log(self, make: Callable[..., Process]) -> None:
        process = make("import sys; print('one'); sys.stdout.flush(); print('two', file=sys.stderr)")
        run(process, within=20, halt=Halt())
        assert process.tail() == "one\ntwo"
        assert process.tail(1) == "two"

    def test_its_lines_are_passed_on_when_somebody_listens(self, make: Callable[..., Process]) -> None:
        lines: list[tuple[str, str]] = []
        process = make("print('one'); print('two')", on_line=lambda *line: lines.append(line))
        process.start()
        eventually(lambda: lines == [("some", "one"), ("some", "two")])
        eventually(lambda: process.tail() == "one\ntwo")

    def test_it_lives_on_where_the_disk_is_full(
        self, make: Callable[..., Process], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "logs").mkdir()
        (tmp_path / "logs" / "some.log").symlink_to("/dev/full")
        lines: list[str] = []
        process = make(
            "for n in range(20_000): print(n, flush=True)", on_line=lambda _, line: lines.append(line)
        )
        process.start()
        eventually(lambda: process.exit_code is not None)
        assert process.exit_code == 0
        eventually(lambda: lines == [str(n) for n in range(20_000)])
        assert capsys.readouterr().out == "the log of some cannot be written: No space left on device\n"

    def test_it_starts_where_no_log_can_be_if_somebody_listens(
        self, make: Callable[..., Process], tmp_path: Path
    ) -> None:
        (tmp_path / "logs").touch()
        lines: list[str] = []
        process = make("print('one')", on_line=lambda _, line: lines.append(line))
        process.start()
        eventually(lambda: lines == ["one"])

    def test_it_stops_when_asked(self, make: Callable[..., Process]) -> None:
        process = make(FOREVER)
        process.start()
        eventually(lambda: begun(process))
        process.stop()
        assert process.pid is None
        assert process.exit_code == -signal.SIGTERM

    def test_it_is_killed_when_it_does_not_stop_in_time(self, make: Callable[..., Process]) -> None:
        process = make(DEAF, stop_within=0.1)
        process.start()
        eventually(lambda: begun(process))
        process.stop()
        assert process.exit_code == -signal.SIGKILL

    def test_it_stops_even_while_it_is_frozen(self, make: Callable[..., Process]) -> None:
        process = make(FOREVER)
        process.start()
        eventually(lambda: begun(process))
        process.pause()
        process.stop()
        assert process.exit_code == -signal.SIGTERM

    def test_killing_it_ends_its_children_too(self, make: Callable[..., Process]) -> None:
        process = make(WITH_CHILD)
        process.start()
        eventually(lambda: begun(process))
        assert process.pid is not None
        (child,) = psutil.Process(process.pid).children()
        process.kill()
        eventually(lambda: gone(child.pid))

    def test_once_it_is_killed_none_of_its_children_is_left(self, make: Callable[..., Process]) -> None:
        # With memory to give back, each takes its time to end.
        process = make(
            "import os, time\nheld = bytearray(os.urandom(1) * 50_000_000)\n"
            "if all(os.fork() for _ in range(20)): print('begun', flush=True)\n"
            "else: held[::4096] = held[1::4096]\n"
            "time.sleep(600)"
        )
        process.start()
        eventually(lambda: begun(process))
        assert process.pid is not None
        children = psutil.Process(process.pid).children()
        process.kill()
        assert len(children) == 20
        assert all(gone(child.pid) for child in children)

    def test_freezing_it_freezes_its_children_until_it_is_resumed(self, make: Callable[..., Process]) -> None:
        process = make(WITH_CHILD)
        process.start()
        eventually(lambda: begun(process))
        assert process.pid is not None
        (child,) = psutil.Process(process.pid).children()
        process.pause()
        eventually(lambda: child.status() == psutil.STATUS_STOPPED)
        process.resume()
        eventually(lambda: child.status() != psutil.STATUS_STOPPED)

    def test_its_cpu_seconds_are_those_of_all_its_starts(self, make: Callable[..., Process]) -> None:
        process = make(BUSY)
        process.start()
        eventually(lambda: begun(process))
        process.stop()
        once = process.cpu_seconds()
        process.start()
        eventually(lambda: begun(process, 2))
        process.stop()
        assert once >= 0.25  # the kernel counts in ticks
        assert process.cpu_seconds() >= once + 0.25
        assert process.cpu_seconds() == process.cpu_seconds()

    def test_a_command_that_is_none_ends_with_a_sentence_in_the_log(self, tmp_path: Path) -> None:
        process = Process("some", ["/no/such/program"], log=tmp_path / "some.log")
        with pytest.raises(DevstackError, match="some ended with 1"):
            run(process, within=20, halt=Halt())
        assert process.tail(1) == "/no/such/program cannot be started: No such file or directory"

    def test_a_long_log_is_put_aside_at_the_next_start(
        self, make: Callable[..., Process], tmp_path: Path
    ) -> None:
        log = tmp_path / "logs" / "some.log"
        log.parent.mkdir()
        with log.open("wb") as long:
            long.truncate(17 * 1024**2)
        process = make("print('short')")
        run(process, within=20, halt=Halt())
        assert log.read_text() == "short\n"
        assert log.with_name("some.log.1").stat().st_size == 17 * 1024**2


class TestWaiting:
    def test_it_ends_when_the_process_is_ready(self, make: Callable[..., Process]) -> None:
        process = make(FOREVER)
        process.start()
        wait_until(lambda: begun(process), process, within=20, halt=Halt())

    def test_a_process_that_ends_is_an_error_that_shows_its_log(self, make: Callable[..., Process]) -> None:
        process = make("raise SystemExit('no space left')")
        process.start()
        with pytest.raises(DevstackError, match=r"some ended with 1[^|]*\nno space left"):
            wait_until(lambda: False, process, within=20, halt=Halt())

    def test_a_process_that_takes_too_long_is_an_error(self, make: Callable[..., Process]) -> None:
        process = make(FOREVER)
        process.start()
        with pytest.raises(DevstackError, match="some is not ready after 0 s"):
            wait_until(lambda: False, process, within=0.1, halt=Halt())

    def test_a_halt_ends_what_is_run_to_its_end(self, make: Callable[..., Process]) -> None:
        halt = Halt()
        halt.set()
        process = make(FOREVER)
        with pytest.raises(Halted):
            run(process, within=20, halt=halt)
        assert process.exit_code == -signal.SIGKILL


def test_a_signal_handler_may_want_a_halt_at_any_moment() -> None:
    """With `threading.Event` this waits for ever: sooner or later a signal comes while its lock is held."""
    halt, handled = Halt(), 0

    def handle(_: int, __: FrameType | None) -> None:
        nonlocal handled
        handled += 1
        halt.set()

    before = signal.signal(signal.SIGVTALRM, handle)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
    try:
        while handled < 50:
            halt.wait(0)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert halt.wait(600)


class TestKeeper:
    @pytest.fixture
    def failing(self, make: Callable[..., Process]) -> Process:
        process = make("raise SystemExit(3)")
        process.start()
        eventually(lambda: process.exit_code == 3)
        return process

    @staticmethod
    def pause(keeper: Keeper, now: float) -> float:
        """Return how long it lets its ended process lie."""
        eventually(lambda: keeper.process.exit_code is not None)
        assert not keeper.tend(now)
        pause = next(n / 10 for n in range(1, 1000) if keeper.tend(now + n / 10))
        eventually(lambda: keeper.process.exit_code is not None)
        return pause

    def test_a_process_that_runs_is_left_alone(self, make: Callable[..., Process]) -> None:
        process = make(FOREVER)
        process.start()
        pid = process.pid
        keeper = Keeper(process)
        assert not any(keeper.tend(process.started_at + n) for n in range(100))
        assert process.pid == pid

    def test_one_that_ended_is_started_again_after_a_pause(self, failing: Process) -> None:
        keeper, now, first = Keeper(failing), failing.started_at, failing.started_at
        assert not keeper.tend(now)
        assert not keeper.tend(now + FIRST_PAUSE / 2)
        assert keeper.tend(now + FIRST_PAUSE)
        assert failing.started_at > first

    def test_one_that_keeps_ending_waits_twice_as_long_each_time(self, failing: Process) -> None:
        keeper = Keeper(failing)
        pauses = [self.pause(keeper, failing.started_at) for _ in range(7)]
        assert pauses == [0.5, 1, 2, 4, 8, LONGEST_PAUSE, LONGEST_PAUSE]

    def test_one_that_lived_for_a_while_is_trusted_again(self, failing: Process) -> None:
        keeper = Keeper(failing)
        for _ in range(4):
            self.pause(keeper, failing.started_at)
        assert self.pause(keeper, failing.started_at + SOUND_AFTER + 1) == FIRST_PAUSE

    def test_it_says_in_one_line_what_it_does(
        self, failing: Process, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Keeper(failing).tend(failing.started_at)
        assert capsys.readouterr().out == "some ended with 3; it is started again in 0.5 s\n"

    def test_what_the_disk_refuses_is_said_and_harms_nobody_else(
        self,
        failing: Process,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(keeper, "FIRST_PAUSE", 0.0)
        stuck = Process("stuck", [sys.executable, "-c", FOREVER], log=tmp_path / "stuck.log")
        stuck.start()
        stuck.kill()
        (tmp_path / "stuck.log").unlink()
        (tmp_path / "stuck.log").mkdir()
        stack = Stack(tmp_path / "data")
        both = [Keeper(stuck), Keeper(failing)]
        first = failing.started_at
        # The folder is not there, so nothing can be written into it.
        eventually(lambda: tend_all(both, stack.note_processes) or failing.started_at > first)
        said = capsys.readouterr().out
        assert "stuck cannot be started: [Errno 21] Is a directory" in said
        assert "It cannot be noted who runs: [Errno 2] No such file or directory" in said
        (tmp_path / "stuck.log").rmdir()
        eventually(lambda: tend_all(both, stack.note_processes) or stuck.pid is not None)
        stuck.kill()


SERVING = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(sys.argv[2]))
        self.end_headers()
    def log_message(self, *_):
        print("asked", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class TestArrival:
    @pytest.fixture
    def kept(self, tmp_path: Path) -> Iterator[Callable[..., Keeper]]:
        """Start processes and keep them."""
        started: list[Process] = []

        def start(name: str, code: str = SERVING, status: int = 200) -> Keeper:
            port = choose(["any"], {})["any"]
            command = [sys.executable, "-c", code, str(port), str(status)]
            url, log = f"http://127.0.0.1:{port}/metrics", tmp_path / f"{name}.log"
            started.append(Process(name, command, log=log, url=url))
            started[-1].start()
            return Keeper(started[-1])

        yield start
        for process in started:
            process.kill()

    @staticmethod
    def wait(*kept: Keeper, within: float = 20, halt: Halt | None = None) -> None:
        def tend() -> None:
            tend_all(kept, lambda: None)

        wait_until_all_serve(kept, tend, within=within, halt=halt or Halt())

    def test_it_is_when_all_of_them_answer(self, kept: Callable[..., Keeper]) -> None:
        both = [kept("ingest"), kept("worker-1")]
        self.wait(*both)
        assert all("asked" in each.process.tail() for each in both)

    @pytest.mark.parametrize(
        ("code", "status"), [(FOREVER, 200), (SERVING, 503)], ids=["silent", "not ready"]
    )
    def test_one_that_does_not_serve_is_named(
        self, kept: Callable[..., Keeper], code: str, status: int
    ) -> None:
        ready, late = kept("ingest"), kept("worker-1", code, status)
        self.wait(ready)
        eventually(lambda: bool(late.process.tail()) or code is SERVING)
        with pytest.raises(DevstackError, match=r"^Not ready after 0 s: worker-1; the log of worker-1 ends"):
            self.wait(ready, late, within=0.2)

    def test_one_that_keeps_ending_is_named_at_once(
        self, kept: Callable[..., Keeper], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeper, "FIRST_PAUSE", 0.01)
        with pytest.raises(DevstackError, match=r"^worker-1 has ended 3 times, with 3; [^|]*\nno children$"):
            self.wait(
                kept("ingest"), kept("worker-1", "import sys; print('no children'); sys.exit(3)"), within=600
            )

    def test_one_that_serves_and_ends_again_has_not_come_up(
        self, kept: Callable[..., Keeper], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeper, "FIRST_PAUSE", 0.01)
        passing = "import os, threading\nthreading.Timer(0.5, os._exit, [3]).start()" + SERVING
        looping = kept("worker-1", passing)
        eventually(lambda: looping.process.exit_code == 3)
        with pytest.raises(DevstackError, match="worker-1 has ended 3 times, with 3"):
            self.wait(looping)

    def test_one_that_ended_once_comes_up_when_it_has_lived_for_a_while(
        self, kept: Callable[..., Keeper], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(arrival, "_STEADY_AFTER", 0.1)
        shaken = kept("worker-1")
        shaken.process.kill()
        self.wait(shaken)
        assert shaken.process.pid is not None
        assert shaken.ended == 1

    def test_a_halt_ends_the_wait(self, kept: Callable[..., Keeper]) -> None:
        halt = Halt()
        halt.set()
        with pytest.raises(Halted):
            self.wait(kept("worker-1", FOREVER), halt=halt)


class TestOrphans:
    @pytest.fixture
    def stray(self) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
        """Start processes that nobody minds."""
        started: list[subprocess.Popen[bytes]] = []

        def start(code: str = FOREVER, mark: str = "") -> subprocess.Popen[bytes]:
            command = [sys.executable, "-c", code]
            env = {**os.environ, MARK: mark}
            started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, start_new_session=True))
            assert started[-1].stdout is not None
            assert started[-1].stdout.readline() == b"begun\n"
            return started[-1]

        yield start
        for process in started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def test_a_child_dies_with_the_supervisor_that_was_killed(self, tmp_path: Path) -> None:
        log = tmp_path / "some.log"
        supervisor = f"""
import sys, time
from pathlib import Path
from types import FrameType
from devstack.process import Process
process = Process("some", [sys.executable, "-c", {FOREVER!r}], log=Path({str(log)!r}))
process.start()
while not process.tail():
    time.sleep(0.01)
print(process.pid, flush=True)
time.sleep(600)
"""
        with subprocess.Popen([sys.executable, "-c", supervisor], stdout=subprocess.PIPE) as parent:
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            assert not gone(child)
            parent.kill()
        eventually(lambda: gone(child))

    def test_the_marked_are_ended_and_nobody_else(
        self, stray: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
    ) -> None:
        ours, others = stray(mark=str(tmp_path)), stray(mark=str(tmp_path / "other"))
        orphans.end(tmp_path / "processes.json", tmp_path)
        assert gone(ours.pid)
        assert others.poll() is None

    def test_the_noted_are_ended_with_their_children(
        self, stray: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
    ) -> None:
        ours = stray(WITH_CHILD)
        (child,) = psutil.Process(ours.pid).children()
        born = psutil.Process(ours.pid).create_time()
        records.write(tmp_path / "processes.json", {"worker-1": {"pid": ours.pid, "born": born}})
        orphans.end(tmp_path / "processes.json", tmp_path)
        assert gone(ours.pid)
        assert gone(child.pid)

    def test_one_with_a_noted_id_that_was_born_at_another_time_is_left_alone(
        self, stray: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
    ) -> None:
        other = stray()
        born = psutil.Process(other.pid).create_time() - 1
        records.write(tmp_path / "processes.json", {"worker-1": {"pid": other.pid, "born": born}})
        orphans.end(tmp_path / "processes.json", tmp_path)
        assert other.poll() is None

    def test_the_frozen_and_the_deaf_are_ended_too(
        self, stray: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(orphans, "_END_WITHIN", 0.2)
        frozen, deaf = stray(mark=str(tmp_path)), stray(DEAF, mark=str(tmp_path))
        frozen.send_signal(signal.SIGSTOP)
        orphans.end(tmp_path / "processes.json", tmp_path)
        assert gone(frozen.pid)
        assert gone(deaf.pid)

    @pytest.mark.parametrize("note", [{"worker-1": {"pid": "x"}}, {"worker-1": 3}, {"worker-1": {"pid": 0}}])
    def test_a_note_that_makes_no_sense_names_nobody(self, tmp_path: Path, note: object) -> None:
        (tmp_path / "processes.json").write_text(json.dumps(note))
        orphans.end(tmp_path / "processes.json", tmp_path)
