"""Grafana with our dashboards, when the machine has one and Prometheus runs."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from devstack.ports import HOST, serves
from devstack.process import DevstackError, Process

PORTS = ("grafana",)
TRACE_PAGE = "GRAFANA_TRACE_PAGE"
"""Names the address of a trace in whatever shows traces, `${__value.raw}` in place of its id."""
SETTINGS: Mapping[str, str] = {
    # Whoever reaches it may look and nobody may change anything: there is no account to be guessed.
    "GF_AUTH_ANONYMOUS_ENABLED": "true",
    "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
    "GF_AUTH_DISABLE_LOGIN_FORM": "true",
    "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION": "true",
    # It speaks to nobody but Prometheus.
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
    "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    "GF_ANALYTICS_REPORTING_ENABLED": "false",
    "GF_NEWS_NEWS_FEED_ENABLED": "false",
    "GF_PLUGINS_PREINSTALL_DISABLED": "true",
    "GF_SECURITY_DISABLE_GRAVATAR": "true",
    "GF_LOG_MODE": "console",
    "GF_LOG_LEVEL": "warn",
}
"""What holds here and in containers; where things are is added."""


def present() -> bool:
    """Return whether it can run here."""
    return _program() is not None


def prepare(data: Path, log: Path, ports: Mapping[str, int], *, config: Path) -> Process:
    """Return the server, provisioned from `config`: the folder with `provisioning` and `dashboards`.

    Raises:
        DevstackError: it is not there.
    """
    found = _program()
    if found is None:
        message = "grafana is not installed."
        raise DevstackError(message)
    program, home = found
    data.mkdir(parents=True, exist_ok=True)
    config = config.absolute()
    env = {name: value for name, value in os.environ.items() if not name.startswith("GF_")} | {
        **SETTINGS,
        "GF_SERVER_HTTP_ADDR": HOST,
        "GF_SERVER_HTTP_PORT": str(ports["grafana"]),
        "GF_PATHS_DATA": str(data),
        "GF_PATHS_LOGS": str(data / "log"),
        "GF_PATHS_PLUGINS": str(data / "plugins"),
        "GF_PATHS_PROVISIONING": str(config / "provisioning"),
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(config / "dashboards" / "ebbmark-overview.json"),
        "PROMETHEUS_URL": f"http://{HOST}:{ports['prometheus']}",
        "DASHBOARDS": str(config / "dashboards"),
        "TRACE_PAGE": os.environ.get(TRACE_PAGE, ""),
    }
    # Its older command is a program of its own; the newer one has commands.
    server = [] if Path(program).name == "grafana-server" else ["server"]
    return Process("grafana", [program, *server, f"--homepath={home}"], log=log, env=env, stop_within=10)


def ready(ports: Mapping[str, int]) -> bool:
    """Return whether it answers, and has its database."""
    return serves(ports["grafana"], "/api/health")


def _program() -> tuple[str, Path] | None:
    """Return the program and its home, where its defaults are: beside it, or where packages put them."""
    for name in ("grafana", "grafana-server"):
        program = shutil.which(name)
        if program is not None:
            for home in (Path(program).resolve().parents[1], Path("/usr/share/grafana")):
                if (home / "conf" / "defaults.ini").is_file():
                    return program, home
    return None
