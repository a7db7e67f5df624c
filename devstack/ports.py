"""Ports on 127.0.0.1: found free, remembered with the data, never taken from somebody."""

import socket
from collections.abc import Iterable, Mapping

HOST = "127.0.0.1"


def is_free(port: int) -> bool:
    """Return whether nobody listens there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def answers(port: int) -> bool:
    """Return whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0


def choose(names: Iterable[str], remembered: Mapping[str, int]) -> dict[str, int]:
    """Return a free port for each name: the remembered one if it still is free, or a new one.

    All new ones are held open until the last is found, so no two are the same.
    """
    held: list[socket.socket] = []
    chosen: dict[str, int] = {}
    try:
        for name in names:
            port = remembered.get(name, 0)
            if not port or not is_free(port):
                held.append(socket.socket())
                held[-1].bind((HOST, 0))
                port = held[-1].getsockname()[1]
            chosen[name] = port
    finally:
        for each in held:
            each.close()
    return chosen
