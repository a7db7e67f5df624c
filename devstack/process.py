"""A child process that dies with its parent, leaves a log, and can be stopped, paused and measured."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import psutil
from psutil import NoSuchProcess

from devstack.halt import Halt, Halted
from devstack.leash import leashed

MARK = "DEVSTACK_LOGS"
"""In the environment of every process of a stack, and of all their descendants: its folder of logs."""
_LONGEST_LOG = 16 * 1024**2
_GONE_WITHIN = 5.0


class DevstackError(Exception):
    """The stack cannot run; the message is one sentence for the person at the terminal."""


class Process:
    """One command, started as often as it takes."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        on_death: signal.Signals = signal.SIGKILL,
        stop_within: float = 10.0,
        on_line: Callable[[str, str], None] | None = None,
        url: str = "",
    ) -> None:
        """`on_line` gets (name, line) for each line of output, which goes to the log besides.

        `url` is what answers well once it serves, if there is such a thing.
        `on_death` is what it is sent when its parent dies without stopping it.
        """
        self.name = name
        self.command = list(command)
        self.url = url
        self.started_at = 0.0
        self._log = log
        self._env = {**(os.environ if env is None else env), MARK: str(log.parent)}
        self._cwd = cwd
        self._stop_signal = stop_signal
        self._on_death = on_death
        self._stop_within = stop_within
        self._on_line = on_line
        self._child: subprocess.Popen[bytes] | None = None
        self._spent_before = 0.0  # CPU seconds of its earlier starts
        self._spent = 0.0

    def start(self) -> None:
        """Start it; must be called from a thread that lives as long as the child.

        Raises:
            OSError: its log cannot be opened, and nobody else takes its lines.
        """
        with suppress(OSError):
            self._log.parent.mkdir(parents=True, exist_ok=True)
            if self._log.stat().st_size > _LONGEST_LOG:
                self._log.replace(self._log.with_suffix(".log.1"))
        with nullcontext(subprocess.PIPE) if self._on_line else self._log.open("ab") as output:
            self._child = subprocess.Popen(  # noqa: S603 - our own command lines
                leashed(self.command, on_death=self._on_death),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,  # Ctrl-C is for the supervisor, who stops all in order
            )
        self._spent_before, self._spent = self._spent_before + self._spent, 0.0
        self.started_at = time.monotonic()
        if self._on_line is not None:
            threading.Thread(target=self._forward, args=(self._child, self._on_line), daemon=True).start()

    def _forward(self, child: subprocess.Popen[bytes], on_line: Callable[[str, str], None]) -> None:
        assert child.stdout is not None  # noqa: S101 - it was asked for
        missing = False
        with child.stdout:
            for line in child.stdout:
                # A full disk must not end this thread: a child dies of a pipe that nobody reads.
                try:
                    with self._log.open("ab", buffering=0) as log:
                        log.write(line)
                    missing = False
                except OSError as exc:
                    if not missing:
                        say(f"the log of {self.name} cannot be written: {exc.strerror}")
                    missing = True
                on_line(self.name, line.decode("utf-8", "replace").rstrip("\n"))

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How it ended, once it has."""
        return self._child.poll() if self._child is not None else None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        if (pid := self.pid) is not None:
            os.kill(pid, number)

    def ask_to_stop(self) -> None:
        """Send its stop signal and return at once."""
        self.cpu_seconds()
        self.resume()
        self.send(self._stop_signal)

    def stop(self) -> None:
        """Stop it in order; kill it when that takes too long."""
        if self._child is None:
            return
        self.ask_to_stop()
        try:
            self._child.wait(self._stop_within)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it and all its children at once, as a power cut would; return when none is left."""
        self.cpu_seconds()
        doomed = self._frozen()
        for process in doomed:
            with suppress(NoSuchProcess):
                process.kill()
        if self._child is not None:
            self._child.wait()
        deadline = time.monotonic() + _GONE_WITHIN
        while not all(map(_gone, doomed)) and time.monotonic() < deadline:
            time.sleep(0.005)

    def pause(self) -> None:
        """Freeze it and its children."""
        self._frozen()

    def resume(self) -> None:
        """Let them go on."""
        if (pid := self.pid) is not None:
            for process in tree(pid):
                with suppress(NoSuchProcess):
                    process.resume()

    def _frozen(self) -> set[psutil.Process]:
        """Freeze the whole tree and return it: one look could miss a child that is just being made."""
        frozen: set[psutil.Process] = set()
        pid = self.pid
        while pid is not None and (others := set(tree(pid)) - frozen):
            for process in others:
                with suppress(NoSuchProcess):
                    process.suspend()
            frozen |= others
        return frozen

    def cpu_seconds(self) -> float:
        """User and system time of it, its children, and those of its earlier starts."""
        if (pid := self.pid) is not None:
            self._spent = max(self._spent, cpu_seconds(pid))
        return self._spent_before + self._spent

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the log."""
        with suppress(OSError):
            return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])
        return ""


def tree(pid: int) -> list[psutil.Process]:
    """Return the process and all its living descendants; none when it is gone."""
    with suppress(NoSuchProcess):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def _gone(process: psutil.Process) -> bool:
    with suppress(NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and all its living and reaped descendants."""
    total = 0.0
    for process in tree(pid):
        with suppress(NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def run(process: Process, *, within: float, halt: Halt) -> None:
    """Run it to its end.

    Raises:
        DevstackError: it failed, or takes longer; with the end of its log.
        Halted: `halt` was set; it was killed.
    """
    process.start()
    try:
        wait_until(lambda: process.exit_code == 0, process, within=within, halt=halt)
    finally:
        process.kill()


def wait_until(ready: Callable[[], bool], process: Process, *, within: float, halt: Halt) -> None:
    """Poll until the process is ready.

    Raises:
        DevstackError: it ended, or is not ready in time; with the end of its log.
        Halted: `halt` was set.
    """
    deadline = time.monotonic() + within
    while not ready():
        if process.exit_code is not None and not ready():
            message = f"{process.name} ended with {process.exit_code}; its log ends with\n{process.tail()}"
            raise DevstackError(message)
        if time.monotonic() > deadline:
            message = f"{process.name} is not ready after {within:.0f} s; its log ends with\n{process.tail()}"
            raise DevstackError(message)
        if halt.wait(0.03):
            raise Halted


def say(text: str) -> None:
    """Write a line to the terminal, if there still is one."""
    with suppress(OSError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
