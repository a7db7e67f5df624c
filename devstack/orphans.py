"""What a killed supervisor left running is found again, and ended, by whoever owns its data folder next."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil

from devstack import records
from devstack.process import MARK, tree

_SAME_BIRTH = 0.02
_END_WITHIN = 5.0


def end(noted: Path, logs: Path) -> None:
    """End every process noted in that file or marked with that folder of logs.

    The caller must own the data folder, so that all of these have nobody who minds them.
    """
    orphans = {process.pid: process for process in [*_noted(noted), *_marked(str(logs))]}.values()
    for process in orphans:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
            process.terminate()
    _, stubborn = psutil.wait_procs(orphans, timeout=_END_WITHIN)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=_END_WITHIN)


def _noted(noted: Path) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for entry in records.read(noted).values():
        with suppress(psutil.NoSuchProcess, KeyError, TypeError, ValueError):
            process = psutil.Process(int(entry["pid"]))  # pyright: ignore[reportIndexIssue]
            # The id may have gone to somebody else since; the birth has not.
            if abs(process.create_time() - entry["born"]) < _SAME_BIRTH:  # pyright: ignore[reportIndexIssue]
                found += tree(process.pid)
    return found


def _marked(logs: str) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) == logs:
                found.append(process)
    return found
