"""What the local stack writes down, and the ports it takes."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack import records
from devstack.ports import HOST, choose, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    records.write(tmp_path / "ports.json", {"kafka": 1})
    records.write(tmp_path / "ports.json", {"kafka": 2})
    assert records.read(tmp_path / "ports.json") == {"kafka": 2}


def test_writing_leaves_one_file_for_its_owner_alone(tmp_path: Path) -> None:
    records.write(tmp_path / "keys.json", {"secret": "s"})
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", ["", '{"kafka": 1', "[1, 2]", "null"])
def test_a_damaged_file_holds_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "ports.json").write_text(content)
    assert records.read(tmp_path / "ports.json") == {}


def test_a_file_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert records.read(tmp_path / "ports.json") == {}


def test_a_port_with_a_listener_is_not_free(taken: int) -> None:
    assert not is_free(taken)


def test_a_remembered_port_is_chosen_again() -> None:
    first = choose(["kafka", "postgres"], {})
    assert choose(["postgres", "kafka"], first) == first


def test_a_remembered_port_that_somebody_took_is_replaced(taken: int) -> None:
    assert choose(["kafka"], {"kafka": taken})["kafka"] != taken


def test_a_port_that_is_remembered_for_another_name_is_left_to_it() -> None:
    port = choose(["ingest"], {})["ingest"]
    assert choose(["worker"], {"ingest": port, "worker": port})["worker"] != port


def test_no_two_names_share_a_port() -> None:
    names = [f"server-{n}" for n in range(200)]
    assert len(set(choose(names, dict.fromkeys(names, 23_456)).values())) == len(names)


def test_a_new_port_is_none_that_the_kernel_gives_to_clients(taken: int) -> None:
    # `taken` is one the kernel gave away; a server that restarts must not find a client on its port.
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if first < 22_000:
        pytest.skip("the kernel gives nearly all ports to clients here")
    assert first <= taken <= last
    assert all(port < first for port in choose([f"server-{n}" for n in range(100)], {}).values())
