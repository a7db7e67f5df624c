"""Alertmanager is told the same in containers and on the local stack, and tells what one has to know."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from devstack import alertmanager
from devstack.halt import Halt
from devstack.process import DevstackError
from devstack.services import environment
from devstack.supervisor import Endpoints

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "observability" / "alertmanager" / "alertmanager.yml"
RULES = yaml.safe_load((ROOT / "observability" / "prometheus" / "rules.yml").read_text("utf-8"))
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
ADDRESS = "http://127.0.0.1:9/hook?key=a&b=c|d\\e"
EACH_ADDRESS = pytest.mark.parametrize("address", ["", ADDRESS], ids=["nobody", "somebody"])


def local(folder: Path, address: str) -> Path:
    """Return the configuration of the local stack."""
    alertmanager.prepare(
        folder, folder / "log", {"alertmanager": 1}, Halt(), program="any", config=TEMPLATE, address=address
    )
    return folder / "alertmanager.yml"


def contained(folder: Path, address: str) -> Path:
    """Return the configuration in containers: their script, with another program in Alertmanager's place."""
    (folder / "alert_webhook").write_text(f"{address}\n" if address else "", "utf-8")
    program = folder / "alertmanager"
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o700)
    env = {"PATH": f"{folder}:{os.environ['PATH']}", "SECRETS": str(folder), "TMPDIR": str(folder)}
    env["TEMPLATE"] = str(TEMPLATE)
    subprocess.run(["/bin/sh", ROOT / "deploy" / "alertmanager"], env=env, check=True)
    return folder / "alertmanager.yml"


def read(path: Path) -> dict[str, Any]:
    assert path.stat().st_mode & 0o777 == 0o600
    return yaml.safe_load(path.read_text("utf-8"))


def receiver(amtool: str, config: Path, alert: str) -> str:
    """Return whom amtool finds that the alert is told to."""
    labels = ALERTS[alert]["labels"] | {"alertname": alert}
    words = [f"{name}={value}" for name, value in labels.items()]
    said = subprocess.run(
        [amtool, "config", "routes", "test", f"--config.file={config}", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout.strip()


@EACH_ADDRESS
def test_both_are_told_the_same(address: str, tmp_path: Path) -> None:
    here, there = tmp_path / "local", tmp_path / "contained"
    there.mkdir()
    told = read(local(here, address))
    assert told == read(contained(there, address))
    hooks = [{"url": address}] if address else []
    assert [each["webhook_configs"] for each in told["receivers"]] == [hooks, hooks]


@EACH_ADDRESS
def test_amtool_finds_no_fault(address: str, amtool: str, tmp_path: Path) -> None:
    config = local(tmp_path, address)
    checked = subprocess.run([amtool, "check-config", config], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_told_as_urgently_as_it_is(alert: str, amtool: str, tmp_path: Path) -> None:
    assert receiver(amtool, local(tmp_path, ""), alert) == ALERTS[alert]["labels"]["severity"]


def test_what_is_left_out_and_why_are_alerts_there_are() -> None:
    def named(matchers: list[str]) -> list[str]:
        patterns = [each.split("=", 1)[1].lstrip("~").strip('"') for each in matchers if "alertname" in each]
        return [name for name in ALERTS for pattern in patterns if re.fullmatch(pattern, name)]

    for rule in yaml.safe_load(TEMPLATE.read_text("utf-8"))["inhibit_rules"]:
        sources, targets = named(rule["source_matchers"]), named(rule["target_matchers"])
        if any("alertname" in each for each in rule["source_matchers"]):
            assert sources
            assert targets
        assert not set(sources) & set(targets)


def test_the_address_comes_from_a_file_or_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(alertmanager.WEBHOOK_FILE, raising=False)
    assert alertmanager.webhook() == ""
    (tmp_path / "address").write_text(f"{ADDRESS}\n", "utf-8")
    monkeypatch.setenv(alertmanager.WEBHOOK_FILE, str(tmp_path / "address"))
    assert alertmanager.webhook() == ADDRESS
    monkeypatch.setenv(alertmanager.WEBHOOK_FILE, str(tmp_path / "absent"))
    with pytest.raises(DevstackError, match=r"absent, which cannot be read"):
        alertmanager.webhook()


def test_a_program_that_is_none_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(alertmanager.BINARY, "/no/such/program")
    with pytest.raises(DevstackError, match=f"{alertmanager.BINARY} names /no/such/program"):
        alertmanager.binary()


def test_what_is_said_to_the_local_stack_alone_is_no_setting(tmp_path: Path) -> None:
    endpoints = Endpoints(kafka="", postgres="", s3="", s3_access_key="", s3_secret_key="")
    given = {alertmanager.BINARY: "/usr/bin/alertmanager", alertmanager.WEBHOOK_FILE: "/run/address"}
    assert not given.keys() & environment(endpoints, given, data=tmp_path, port=8000).keys()
