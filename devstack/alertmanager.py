"""Alertmanager, when the machine has one: groups what Prometheus finds, and tells whoever is to know."""

import json
import os
import shutil
from pathlib import Path

from devstack.halt import Halt
from devstack.ports import HOST, serves
from devstack.process import DevstackError, Process

PORTS = ("alertmanager",)
BINARY, WEBHOOK_FILE = "EBBMARK_ALERTMANAGER_BIN", "EBBMARK_ALERT_WEBHOOK_FILE"
_NAMES = ("prometheus-alertmanager", "alertmanager")  # Debian's, and everybody else's


def binary() -> str | None:
    """Return the program to run, if there is one.

    Raises:
        DevstackError: the one that was named is none.
    """
    named = os.environ.get(BINARY)
    if named and shutil.which(named) is None:
        message = f"{BINARY} names {named}, which is no program."
        raise DevstackError(message)
    return named or next(filter(None, map(shutil.which, _NAMES)), None)


def webhook() -> str:
    """Return the address that is told of alerts; nothing when nobody is.

    Raises:
        DevstackError: the file that should hold it cannot be read.
    """
    path = os.environ.get(WEBHOOK_FILE)
    if not path:
        return ""
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        message = f"{WEBHOOK_FILE} names {path}, which cannot be read."
        raise DevstackError(message) from exc


def configured(template: str, address: str) -> str:
    """Return the configuration that tells this address, or nobody when it is empty."""
    hooks = json.dumps([{"url": address}] if address else [])
    return template.replace(": WEBHOOKS\n", f": {hooks}\n")


def prepare(
    data: Path, log: Path, ports: dict[str, int], _: Halt, *, program: str, config: Path, address: str = ""
) -> Process:
    """Return the server; its configuration may hold a secret, so nobody else can read it."""
    data.mkdir(parents=True, exist_ok=True)
    written = data / "alertmanager.yml"
    written.touch(0o600)
    written.write_text(configured(config.read_text("utf-8"), address), "utf-8")
    command = [
        program,
        f"--config.file={written}",
        f"--storage.path={data / 'data'}",
        "--cluster.listen-address=",  # it has no others to speak to
        f"--web.listen-address={HOST}:{ports['alertmanager']}",
        "--log.level=warn",
    ]
    return Process("alertmanager", command, log=log, stop_within=5)


def ready(ports: dict[str, int]) -> bool:
    """Return whether it answers."""
    return serves(ports["alertmanager"], "/-/ready")
