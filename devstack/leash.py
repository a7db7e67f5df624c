"""Becomes the command it is given, bound to end with the process that started it.

It runs as a script between the supervisor and the command: the supervisor has threads, and code of its own
that ran after the fork could wait for ever for a lock that one of them held.
"""

import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def leashed(command: Sequence[str], *, on_death: signal.Signals = signal.SIGKILL) -> list[str]:
    """Return the command that runs this one and sends it `on_death` when the calling thread ends."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(on_death)), *command]


def main() -> None:
    """Put on the leash, then become the command."""
    import ctypes  # noqa: PLC0415 - the supervisor imports this module and needs no ctypes

    parent, on_death, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(on_death), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("its supervisor ended before it began")
    try:
        os.execvp(command[0], command)  # noqa: S606 - our own command lines
    except OSError as exc:
        sys.exit(f"{command[0]} cannot be started: {exc.strerror}")


if __name__ == "__main__":
    main()
