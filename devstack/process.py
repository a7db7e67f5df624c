"""A child process that dies with its parent, leaves a log, and can be stopped, paused and measured."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from psutil import NoSuchProcess

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)  # loaded here: nothing may be imported between fork and exec


class DevstackError(Exception):
    """The stack cannot run; the message is one sentence for the person at the terminal."""


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


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
        stop_within: float = 10.0,
        on_line: Callable[[str, str], None] | None = None,
    ) -> None:
        """`on_line` gets (name, line) for each line of output, which goes to the log besides."""
        self.name = name
        self.command = list(command)
        self._log = log
        self._env = dict(os.environ) if env is None else dict(env)
        self._cwd = cwd
        self._stop_signal = stop_signal
        self._stop_within = stop_within
        self._on_line = on_line
        self._child: subprocess.Popen[bytes] | None = None
        self._spent = 0.0
        self.started_at = 0.0

    def start(self) -> None:
        """Start it; must be called from a thread that lives as long as the child."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - our own command lines
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self._on_line else log,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,  # Ctrl-C is for the supervisor, who stops all in order
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, no locks
            )
        self.started_at = time.monotonic()
        if self._on_line is not None:
            threading.Thread(target=self._forward, args=(self._child, self._on_line), daemon=True).start()

    def _forward(self, child: subprocess.Popen[bytes], on_line: Callable[[str, str], None]) -> None:
        assert child.stdout is not None  # noqa: S101 - it was asked for
        with self._log.open("ab") as log, child.stdout:
            for line in child.stdout:
                log.write(line)
                log.flush()
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
        if self.pid is not None:
            os.kill(self.pid, number)

    def ask_to_stop(self) -> None:
        """Send its stop signal and return at once."""
        self._note_cpu()
        with suppress(ProcessLookupError):
            self.send(signal.SIGCONT)
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
        """End it and all its children at once, as a power cut would."""
        if self.pid is None or self._child is None:
            return
        self._note_cpu()
        for process in [
            *psutil.Process(self._child.pid).children(recursive=True),
            psutil.Process(self._child.pid),
        ]:
            with suppress(NoSuchProcess):
                process.kill()
        self._child.wait()

    def pause(self) -> None:
        """Freeze it and its children."""
        self._signal_tree(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal_tree(signal.SIGCONT)

    def _signal_tree(self, number: signal.Signals) -> None:
        if self.pid is not None:
            root = psutil.Process(self.pid)
            for process in [root, *root.children(recursive=True)]:
                with suppress(NoSuchProcess):
                    process.send_signal(number)

    def cpu_seconds(self) -> float:
        """User and system time of it, its children, and those of its earlier starts."""
        return self._spent + (cpu_seconds(self.pid) if self.pid else 0.0)

    def _note_cpu(self) -> None:
        if self.pid is not None:
            self._spent += cpu_seconds(self.pid)

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the log."""
        with suppress(OSError):
            return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])
        return ""


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process and all its living and reaped descendants."""
    total = 0.0
    with suppress(NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    return total


def wait_until(ready: Callable[[], bool], process: Process, *, within: float) -> None:
    """Poll until the process is ready.

    Raises:
        DevstackError: it ended, or is not ready in time; with the end of its log.
    """
    deadline = time.monotonic() + within
    while not ready():
        if process.exit_code is not None:
            message = f"{process.name} ended with {process.exit_code}:\n{process.tail()}"
            raise DevstackError(message)
        if time.monotonic() > deadline:
            message = f"{process.name} is not ready after {within:.0f} s:\n{process.tail()}"
            raise DevstackError(message)
        time.sleep(0.03)


def say(text: str) -> None:
    """Write a line to the terminal."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
