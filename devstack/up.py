"""`make up`: the servers, then every Ebbmark process, kept running until Ctrl-C."""

import os
import sys
import time
from pathlib import Path

from devstack import seaweedfs
from devstack.arrival import wait_until_all_serve
from devstack.errand import Errand
from devstack.halt import Halt, Halted
from devstack.keeper import Keeper, tend_all
from devstack.ports import HOST, is_free
from devstack.process import DevstackError, Process, run, say
from devstack.services import COMMAND, dotenv, ebbmark_processes, environment
from devstack.supervisor import Stack

_READY_WITHIN = 60.0


def up(data: Path, *, port: int, workers: int, config: Path | None, halt: Halt) -> int:
    """Run the whole system until `halt` is set; return the exit code."""
    stack = Stack(data, config=config, halt=halt)
    kept: list[Keeper] = []
    try:
        stack.claim()
        _refuse_taken(port)
        began = time.monotonic()
        stack.start()
        served = time.monotonic()
        _run_ebbmark(stack, kept, workers=workers, port=port, halt=halt)
        _greet(stack, port, f"servers {served - began:.1f} s, Ebbmark {time.monotonic() - served:.1f} s")
        search = Errand(
            seaweedfs.search(
                stack.data / "seaweedfs", stack.data / "logs" / "seaweedfs-search.log", stack.ports
            ),
            first=seaweedfs.SEARCH_FIRST,
            every=seaweedfs.SEARCH_EVERY,
            now=time.monotonic(),
        )
        while not halt.wait(0.2):
            tend_all(kept, stack.note_processes)
            search.tend(time.monotonic())
        search.process.kill()
    except Halted:
        return 0
    except (DevstackError, OSError) as exc:  # the disk is full, or not ours to write to
        sys.stderr.write(f"make up: {exc}\n")
        return 2
    else:
        return 0
    finally:
        _stop(stack, kept)


def _refuse_taken(port: int) -> None:
    if not is_free(port):
        message = f"Port {port} is taken; say another one: make up PORT={port + 1}"
        raise DevstackError(message)


def _run_ebbmark(stack: Stack, kept: list[Keeper], *, workers: int, port: int, halt: Halt) -> None:
    given = {**dotenv(Path(".env")), **os.environ}
    env = environment(stack.endpoints, given, data=stack.data, port=port)
    log = stack.data / "logs" / "prepare.log"
    run(Process("prepare", [*COMMAND, "prepare"], log=log, env=env), within=_READY_WITHIN, halt=halt)
    kept += [Keeper(server) for server in stack.processes.values()]
    ours: list[Keeper] = []
    for process in ebbmark_processes(stack, env, workers=workers, port=port):
        process.start()
        ours.append(Keeper(process))
        kept.append(ours[-1])
        stack.adopt(process)
    ours.reverse()  # ingest, whose answer costs the most, is asked once the others serve
    wait_until_all_serve(ours, lambda: tend_all(kept, stack.note_processes), within=_READY_WITHIN, halt=halt)


def _greet(stack: Stack, port: int, took: str) -> None:
    absent = {
        "prometheus": "no `prometheus` on the PATH nor in EBBMARK_PROMETHEUS_BIN",
        "alertmanager": "no `prometheus-alertmanager` on the PATH, nor in EBBMARK_ALERTMANAGER_BIN",
        "grafana": "no `grafana` on the PATH",
    } | stack.left_out
    say(
        f"""
  Ebbmark is ready ({took}).

    photos       http://{HOST}:{port}/
    API          http://{HOST}:{port}/docs
    metrics      http://{HOST}:{port}/metrics
    Prometheus   {stack.endpoints.prometheus or f"left out: {absent['prometheus']}"}
    Alertmanager {stack.endpoints.alertmanager or f"left out: {absent['alertmanager']}"}
    Grafana      {stack.endpoints.grafana or f"left out: {absent['grafana']}"}
    data, logs   {stack.data}

  Ctrl-C stops everything; the data stays.
"""
    )


def _stop(stack: Stack, kept: list[Keeper]) -> None:
    """Stop the services first, together: they finish what they have in hand while the servers are there."""
    services = [keeper.process for keeper in kept if keeper.process.name not in stack.servers]
    for process in services:
        process.ask_to_stop()
    for process in services:
        process.stop()
    stack.stop()
