"""The search of the store for what belongs to no file fails when its shell says so, and only then."""

import threading

import pytest

from devstack import seaweedfs
from devstack.process import DevstackError, run
from devstack.supervisor import Stack

pytestmark = [pytest.mark.servers]


def searched(stack: Stack) -> None:
    log = stack.data / "logs" / "seaweedfs-search.log"
    found = seaweedfs.search(stack.data / "seaweedfs", log, stack.ports)
    run(found, within=60, halt=threading.Event())


def test_a_search_that_finds_nothing_is_well(stack: Stack) -> None:
    searched(stack)


def test_a_search_without_the_lock_it_needs_fails(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seaweedfs, "SEARCH", seaweedfs.SEARCH.replace("unlock\n", "").replace("lock\n", ""))
    with pytest.raises(DevstackError, match="seaweedfs-search"):
        searched(stack)
