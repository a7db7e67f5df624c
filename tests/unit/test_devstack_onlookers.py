"""What only watches holds nothing up: one that is slow comes later, one that ends is left out."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devstack import supervisor
from devstack.process import DevstackError
from devstack.supervisor import Stack

CONFIG = Path(__file__).parents[2] / "observability" / "prometheus" / "prometheus.yml"
NEVER_ANSWERS = "import time\ntime.sleep(600)"
ENDS = "import sys\nprint('no such plugin')\nsys.exit(3)"

Installing = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installing:
    """Install programs that run some Python; there are no others, and nobody waits long for them."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "defaults.ini").touch()  # by which Grafana is known
    monkeypatch.setenv("PATH", str(programs))
    for named in ("EBBMARK_PROMETHEUS_BIN", "EBBMARK_ALERTMANAGER_BIN"):
        monkeypatch.delenv(named, raising=False)
    monkeypatch.setattr(supervisor, "_ONLOOKERS_WITHIN", 2.0)
    monkeypatch.setattr(supervisor, "_READY_WITHIN", 0.2)

    def install(name: str, code: str) -> None:
        (programs / name).write_text(f"#!{sys.executable}\n{code}\n", "utf-8")
        (programs / name).chmod(0o700)

    return install


def noted(stack: Stack) -> set[str]:
    return set(json.loads((stack.data / "processes.json").read_text("utf-8")))


def test_a_stack_is_up_while_they_do_not_answer_and_they_go_on(
    install: Installing, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install("prometheus", NEVER_ANSWERS)
    install("grafana", NEVER_ANSWERS)
    with Stack(tmp_path / "data", services=[], config=CONFIG) as stack:
        assert {name for name, server in stack.servers.items() if server.pid} == {"prometheus", "grafana"}
        assert stack.endpoints.grafana is not None
        assert noted(stack) == {"prometheus", "grafana"}
        assert stack.left_out == {}
    said = capsys.readouterr().out
    for name in ("prometheus", "grafana"):
        assert f"{name} does not answer after 2 s; the rest goes on without it" in said


def test_one_that_ends_is_left_out_and_it_is_said_why(
    install: Installing, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_ONLOOKERS_WITHIN", 15.0)
    install("prometheus", NEVER_ANSWERS)
    install("grafana", ENDS)
    with Stack(tmp_path / "data", services=[], config=CONFIG) as stack:
        assert set(stack.servers) == set(stack.processes) == noted(stack) == {"prometheus"}
        assert stack.endpoints.grafana is None
        log = stack.data / "logs" / "grafana.log"
        assert stack.left_out == {"grafana": f"it ended with 3, see {log}"}
        assert log.read_text("utf-8") == "no such plugin\n"
        assert f"grafana is left out: it ended with 3, see {log}" in capsys.readouterr().out


@pytest.mark.parametrize("code", [NEVER_ANSWERS, ENDS])
def test_what_was_asked_for_by_name_is_waited_for(install: Installing, tmp_path: Path, code: str) -> None:
    install("prometheus", code)
    stack = Stack(tmp_path / "data", services=["prometheus"], config=CONFIG)
    with pytest.raises(DevstackError, match="prometheus"):
        stack.start()
    assert stack.servers == {}
