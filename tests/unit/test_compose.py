"""The containers are confined, start in order, and mean the same as the local stack."""

import json
import os
import re
import shlex
import signal
import socket
import struct
import subprocess
import threading
import tomllib
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from devstack import exporters, grafana, kafka, prometheus, seaweedfs, services
from devstack.halt import Halt
from devstack.supervisor import SERVERS, Endpoints
from ebbmark.cli import AGENTS, main
from ebbmark.ledger.roles import MONITOR, RIGHTS, role
from ebbmark.settings import PREFIX, Settings
from tests.conftest import missing
from tests.people import eventually

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("ebbmark:")}
LASTING = sorted(set(SERVICES) - {"prepare"})
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ").splitlines()
EACH = pytest.mark.parametrize("name", sorted(SERVICES))
TRACES = "http://traces/${__value.raw}"
_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")
_WEED = """#!/bin/sh
test "$1" != shell || { cat >"$TMPDIR/asking" && mv "$TMPDIR/asking" "$TMPDIR/asked"; exit; }
printf '%s\\n' "$@"
"""


def environment(name: str) -> dict[str, str]:
    given: dict[str, str] = SERVICES[name].get("environment", {})
    return {key: _DEFAULT.sub(r"\1", value) for key, value in given.items()}


def instructions(word: str) -> list[str]:
    return [line.removeprefix(word).strip() for line in DOCKERFILE if line.startswith(word)]


def problems(compose: dict[str, Any]) -> list[str]:
    """Return what the Compose Specification's own schema says against it."""
    kept = distribution("check-jsonschema").locate_file("check_jsonschema/builtin_schemas/vendor")
    schema = json.loads((Path(str(kept)) / "compose-spec.json").read_text("utf-8"))
    found = jsonschema_rs.validator_for(schema).iter_errors(compose)
    return [f"{'.'.join(map(str, each.instance_path))}: {each.message}" for each in found]


def test_the_file_is_what_the_specification_describes() -> None:
    assert problems(COMPOSE) == []


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        (("services", "ingest"), "mem_limits", "1g"),
        (("services", "kafka"), "restart", 3),
        (("services", "worker", "healthcheck"), "start_intervall", "1s"),
        (("services", "notifier", "depends_on", "kafka"), "condition", "healthy"),
        (("networks", "servers"), "intern", True),
        (("secrets", "operator_token"), "path", "./token"),
        ((), "service", {}),
    ],
)
def test_a_key_that_compose_does_not_know_is_found(where: tuple[str, ...], key: str, value: object) -> None:
    broken = yaml.safe_load(TEXT)
    level = broken
    for name in where:
        level[name] = dict(level[name])  # what the file shares by an alias stays as it is
        level = level[name]
    level[key] = value
    assert problems(broken) != []


def test_the_processes_of_the_local_stack_run_on_the_same_servers() -> None:
    assert set(OURS) == {service.command for service in services.SERVICES} | {"prepare", "notifier"}
    watching = {"prometheus", "alertmanager", "grafana", "kafka-exporter", *exporters.TARGETS}
    assert set(SERVICES) == set(OURS) | set(SERVERS) | watching


@EACH
def test_a_service_is_nobody_special(name: str) -> None:
    user, group = (int(number) for number in SERVICES[name]["user"].split(":"))
    least = 10_000 if name in OURS else 1
    assert user >= least
    assert group >= least


@EACH
def test_a_service_cannot_change_itself_or_gain_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"cap_add", "privileged", "devices", "pid", "ipc", "network_mode"} & set(service)


@EACH
def test_a_service_is_bounded(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 512
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])  # noqa: S108 - in the container
    assert all("size=" in mount for mount in service["tmpfs"])


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_service_tells_its_health_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("ingest", "http://127.0.0.1:8000/readyz"),
        ("worker", "http://127.0.0.1:9101/metrics"),
        ("notifier", "http://127.0.0.1:9101/metrics"),
        ("janitor", "http://127.0.0.1:9102/metrics"),
    ],
)
def test_our_processes_are_asked_where_they_listen(name: str, url: str) -> None:
    kind = "HTTP" if name == "ingest" else f"{SERVICES[name]['command'][0].upper()}_METRICS"
    assert environment(name)[f"{PREFIX}{kind}_HOST"] == "0.0.0.0"  # noqa: S104 - in the container
    assert f":{environment(name)[f'{PREFIX}{kind}_PORT']}/" in url
    assert f'"{url}"' in SERVICES[name]["healthcheck"]["test"][-1]
    compile(SERVICES[name]["healthcheck"]["test"][-1], name, "exec")


def test_our_processes_wait_for_servers_that_are_healthy_and_prepared() -> None:
    for name, service in OURS.items():
        conditions = {other: how["condition"] for other, how in service["depends_on"].items()}
        prepared = {} if name == "prepare" else {"prepare": "service_completed_successfully"}
        assert conditions == dict.fromkeys(SERVERS, "service_healthy") | prepared


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_processes_get_commands_that_exist(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["ebbmark"])
    with pytest.raises(SystemExit) as ended:
        main([*SERVICES[name]["command"], "--help"])
    assert ended.value.code == 0
    assert f"ebbmark {SERVICES[name]['command'][0]}" in capsys.readouterr().out


def test_every_agent_has_one_place_and_only_who_tells_somebody_has_a_way_out() -> None:
    commands = {name: OURS[name]["command"] for name in ("worker", "notifier")}
    assert {" ".join(command[:2]) for command in commands.values()} == {"worker --agents"}
    run = [agent for command in commands.values() for agent in command[2].split(",")]
    assert sorted(run) == sorted(AGENTS)
    assert commands["notifier"][2] == "notifier"
    out = [name for name, service in SERVICES.items() if "out" in service["networks"]]
    assert out == ["notifier", "alertmanager"]


def test_they_may_finish_what_they_have_in_hand() -> None:
    assert {service["stop_grace_period"] for service in OURS.values()} == {f"{services._DRAIN_WITHIN:.0f}s"}  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("name", sorted(OURS))
def test_their_settings_can_be_read(name: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    text = "written in a file"
    secret.write_text(f"{text}\n", "utf-8")
    env = {
        key: str(secret) if key.endswith("_FILE") else value
        for key, value in environment(name).items()
        if key.startswith(PREFIX)
    }
    settings = Settings.from_env(env)
    assert settings.ledger.password == text
    keys = "" if name == "notifier" else text  # it has a way out, and touches no photo
    assert settings.store.access_key == settings.store.secret_key == keys
    assert settings.operator.token == (text if name == "ingest" else ""), "nobody else needs it"


def test_every_setting_of_the_local_stack_is_made_here_too(tmp_path: Path) -> None:
    endpoints = Endpoints(kafka="", postgres="", s3="", s3_access_key="", s3_secret_key="")
    env = services.environment(endpoints, {}, data=tmp_path, port=8000)
    own = {
        name for each in services.SERVICES for name in (each.metrics_port, each.instance, each.folder) if name
    }
    local = {name for name in env if name.startswith(PREFIX)} | own
    here = {key.removesuffix("_FILE") for name in OURS for key in environment(name)}
    # The replicas of a worker share one environment, so none has a name; what Faust keeps goes to /tmp;
    # a log is read by machines, which is the default.
    assert local - here == {"EBBMARK_WORKER_INSTANCE", "EBBMARK_WORKER_DATA", "EBBMARK_LOG_FORMAT"}


def test_what_a_person_sets_reaches_our_processes_but_is_not_needed() -> None:
    for service in OURS.values():
        assert service["env_file"] == [{"path": ".env", "required": False}]


def test_secrets_come_from_files_alone() -> None:
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./deploy/secrets/{name}"}
    for name in SERVICES:
        for key, value in environment(name).items():
            if re.search(r"PASSWORD|SECRET|ACCESS_KEY|TOKEN", key):
                assert key.endswith("_FILE")
                assert value.startswith("/run/secrets/")
                assert value.removeprefix("/run/secrets/") in SERVICES[name]["secrets"]
    assert not re.search(r"://[^/\s:@]+:[^/\s@]+@", TEXT)


@pytest.mark.parametrize("name", sorted(set(OURS) - {"prepare"}))
def test_a_service_has_a_role_of_its_own_in_the_database_and_no_other_s_password(name: str) -> None:
    service = SERVICES[name]["command"][0]
    assert environment(name)["EBBMARK_LEDGER_URL"] == (
        f"postgresql://{role(Settings().ledger, service)}@postgres:5432/ebbmark"
    )
    passwords = [secret for secret in SERVICES[name]["secrets"] if secret.startswith("ledger")]
    assert passwords == [f"ledger_{service}_password"]
    assert environment(name)["EBBMARK_LEDGER_PASSWORD_FILE"] == f"/run/secrets/{passwords[0]}"


def test_the_roles_are_made_with_the_passwords_that_the_services_have() -> None:
    for service in RIGHTS:
        given = environment("prepare")[f"EBBMARK_LEDGER_{service.upper()}_PASSWORD_FILE"]
        assert given == environment(service)["EBBMARK_LEDGER_PASSWORD_FILE"]


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    script = tmp_path / "make-secrets"
    script.write_bytes((ROOT / "deploy" / "make-secrets").read_bytes())
    subprocess.run(["sh", script], check=True)
    made = {path.name: path.read_text("utf-8") for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(COMPOSE["secrets"])
    assert made.pop("alert_webhook") == ""  # an address, which only its operator knows
    assert len(set(made.values())) == len(made)
    assert all(re.fullmatch(r"[0-9a-f]{40}", value) for value in made.values())
    (tmp_path / "secrets" / "alert_webhook").write_text("http://127.0.0.1:1/", "utf-8")
    subprocess.run(["sh", script], check=True)
    kept = made | {"alert_webhook": "http://127.0.0.1:1/"}
    assert kept == {path.name: path.read_text("utf-8") for path in (tmp_path / "secrets").iterdir()}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_secrets_are_never_committed() -> None:
    assert (ROOT / "deploy" / "secrets" / ".gitignore").read_text("utf-8").split() == ["*", "!.gitignore"]


def test_every_image_is_pinned() -> None:
    bases = [line.split()[0] for line in instructions("FROM")]
    for image in [service["image"] for service in SERVICES.values()] + bases:
        assert re.fullmatch(r"[a-z/-]+:v?\d+(\.\d+)*(-[a-z]+)?", image)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {service["image"] for service in OURS.values()} == {f"ebbmark:{project['version']}"}


def test_kafka_is_the_version_of_the_local_stack() -> None:
    jars = (ROOT / "devstack" / "kafka-jars.lock").read_text("utf-8")
    version = SERVICES["kafka"]["image"].partition(":")[2]
    assert f"org.apache.kafka:kafka-server:{version} " in jars


def test_only_pages_can_be_reached_and_only_from_this_machine() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "ingest": ["127.0.0.1:${PORT:-8000}:8000"],
        "alertmanager": ["127.0.0.1:${ALERTMANAGER_PORT:-9093}:9093"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }
    assert COMPOSE["networks"] == {
        "front": {"driver_opts": {"com.docker.network.bridge.enable_ip_masquerade": "false"}},
        "out": {},
        "servers": {"internal": True},
        "watch": {"internal": True},
    }
    assert SERVICES["alertmanager"]["networks"] == ["out", "watch"]
    beside = {"ingest": ["front"], "notifier": ["out"], "prometheus": ["watch"], "grafana": ["front"]}
    for name, service in SERVICES.items():
        assert name == "alertmanager" or service["networks"] == [*beside.get(name, []), "servers"]


def test_the_worker_may_be_scaled() -> None:
    assert not {"container_name", "hostname", "ports", "volumes"} & set(SERVICES["worker"])


def test_every_volume_and_file_that_is_mounted_is_there() -> None:
    for service in SERVICES.values():
        for source, *_ in (volume.split(":") for volume in service.get("volumes", [])):
            if source != "/":  # which the node exporter reads
                known = (ROOT / source).is_dir() if source.startswith("./") else source in COMPOSE["volumes"]
                assert known, source
        for config in service.get("configs", []):
            assert (ROOT / COMPOSE["configs"][config["source"]]["file"]).is_file()


def test_kafka_is_configured_as_on_the_local_stack(tmp_path: Path) -> None:
    def variable(key: str) -> str:
        return "KAFKA_" + key.replace("-", "___").replace("_", "__").replace(".", "_").upper()

    local = kafka.settings(tmp_path, dict.fromkeys(kafka.PORTS, 9092))
    here = environment("kafka")
    where = {"listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs"}
    assert where < set(local)
    assert {variable(key) for key in local} <= set(here)
    for key in set(local) - where:
        assert here[variable(key)] == local[key], key
    broker = next(address for address in here["KAFKA_ADVERTISED_LISTENERS"].split("://")[1:])
    assert {environment(name)["EBBMARK_KAFKA_BOOTSTRAP"] for name in OURS} == {broker}


def test_kafka_keeps_its_data_on_the_volume() -> None:
    assert SERVICES["kafka"]["volumes"] == [f"kafka:{environment('kafka')['KAFKA_LOG_DIRS']}"]


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [(struct.pack(">iii", 60, 1, 1), True), (struct.pack(">iii", 12, 1, 0), False), (b"", False)],
    ids=["one that serves", "one that does not serve yet", "none"],
)
def test_kafka_is_healthy_when_it_names_a_broker(answer: bytes, *, healthy: bool) -> None:
    asked: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            asked.append(connection.recv(64))
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        shell, flag, script = SERVICES["kafka"]["healthcheck"]["test"][1:]
        script = script.replace("$$", "$").replace("/9092", f"/{listener.getsockname()[1]}")
        ended = subprocess.run([shell, flag, script], check=False, timeout=10)
        thread.join()
    request = kafka._METADATA  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    assert asked == [struct.pack(">i", len(request)) + request]
    assert (ended.returncode == 0) is healthy


def test_seaweedfs_is_started_as_on_the_local_stack(tmp_path: Path) -> None:
    ports = dict.fromkeys(seaweedfs.PORTS, 1)
    local = seaweedfs.prepare(tmp_path / "local", tmp_path / "log", ports, threading.Event()).command
    config, here = started_seaweedfs(tmp_path)
    # Where it listens and where it keeps things differ, nothing else.
    where = re.compile(r"-(dir|ip|ip\.bind|s3\.ip\.bind|s3\.config|\w+\.port(\.grpc)?|\w+\.localSocket)=.*")
    assert [flag for flag in here if not where.fullmatch(flag)] == [
        flag for flag in local[1:] if not where.fullmatch(flag)
    ]
    mine = json.loads((tmp_path / "local" / "s3.json").read_text("utf-8"))
    credentials = {"accessKey": "store_access_key-1", "secretKey": "store_secret_key-1"}
    mine["identities"][0]["credentials"] = [credentials]
    owner, *others = config["identities"]
    assert [owner] == mine["identities"]
    assert {each["name"] for each in others} == set(RIGHTS)


@pytest.mark.parametrize("name", sorted(OURS.keys() - {"notifier"}))
def test_a_service_has_keys_of_its_own_to_the_bucket_and_no_other_s(tmp_path: Path, name: str) -> None:
    config, _ = started_seaweedfs(tmp_path)
    files = [environment(name)[f"EBBMARK_STORE_{key}_KEY_FILE"] for key in ("ACCESS", "SECRET")]
    keys = [file.removeprefix("/run/secrets/") for file in files]
    identity = "ebbmark" if name == "prepare" else SERVICES[name]["command"][0]
    (credentials,) = next(each for each in config["identities"] if each["name"] == identity)["credentials"]
    assert list(credentials.values()) == [f"{key}-1" for key in keys]
    assert [secret for secret in SERVICES[name]["secrets"] if secret.startswith("store")] == keys


def test_seaweedfs_shows_only_its_s3_gateway(tmp_path: Path) -> None:
    _, flags = started_seaweedfs(tmp_path)
    addresses = [flag for flag in flags if re.match(r"-(\w+\.)?ip(\.bind)?=", flag)]
    assert addresses == ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.ip.bind=0.0.0.0"]
    assert "-dir=/data" in flags
    assert SERVICES["seaweedfs"]["volumes"] == ["seaweedfs:/data"]
    assert {environment(name)["EBBMARK_STORE_ENDPOINT"] for name in OURS} == {"http://seaweedfs:8333"}


def test_seaweedfs_searches_for_what_belongs_to_no_file_as_the_local_stack_does(tmp_path: Path) -> None:
    started_seaweedfs(tmp_path, search_first=0)
    assert (tmp_path / "asked").read_text("utf-8") == seaweedfs.SEARCH.format(older="1h")
    assert not {"SEARCH_FIRST", "SEARCH_EVERY"} & environment("seaweedfs").keys()
    script = (ROOT / "deploy" / "seaweedfs").read_text("utf-8")
    assert f'"${{SEARCH_FIRST:-{seaweedfs.SEARCH_FIRST:.0f}}}"' in script
    assert f'"${{SEARCH_EVERY:-{seaweedfs.SEARCH_EVERY:.0f}}}"' in script


def started_seaweedfs(folder: Path, *, search_first: float = 600) -> tuple[dict[str, Any], list[str]]:
    """Start it with another program in its place; return its configuration and its flags.

    With `search_first` 0 the server does not end before it has been searched once.
    """
    for name in SERVICES["seaweedfs"]["secrets"]:
        (folder / name).write_text(f"{name}-1", "utf-8")
    weed = folder / "weed"
    weed.write_text(_WEED, "utf-8")
    weed.chmod(0o700)
    env = {"PATH": f"{folder}:{os.environ['PATH']}", "SECRETS": str(folder), "TMPDIR": str(folder)}
    env |= {"SEARCH_FIRST": str(search_first), "SEARCH_EVERY": "600"}
    # Its output goes to a file: what goes on in the background would keep a pipe open.
    with (folder / "flags").open("w", encoding="utf-8") as flags:
        started = subprocess.Popen(
            ["/bin/sh", ROOT / "deploy" / "seaweedfs"],
            env=env,
            stdout=flags,
            start_new_session=True,
        )
        try:
            if search_first == 0:
                eventually((folder / "asked").exists, bool)
            assert started.wait(60) == 0
        finally:
            os.killpg(started.pid, signal.SIGKILL)
    config = folder / "s3.json"
    assert config.stat().st_mode & 0o777 == 0o600
    return json.loads(config.read_text("utf-8")), (folder / "flags").read_text("utf-8").splitlines()


def test_postgres_is_made_as_on_the_local_stack() -> None:
    local = (ROOT / "devstack" / "postgres.py").read_text("utf-8")
    for option in environment("postgres")["POSTGRES_INITDB_ARGS"].split():
        assert f'"{option}"' in local
    server, *options = SERVICES["postgres"]["command"]
    assert (server, set(options[::2]), len(options)) == ("postgres", {"-c"}, 4)
    assert all(f'"{setting}"' in local for setting in options[1::2])
    user, database = environment("postgres")["POSTGRES_USER"], environment("postgres")["POSTGRES_DB"]
    assert environment("prepare")["EBBMARK_LEDGER_URL"] == f"postgresql://{user}@postgres:5432/{database}"


def test_the_image_runs_as_the_user_that_compose_names() -> None:
    (user,) = instructions("USER")
    assert {service["user"] for service in OURS.values()} == {user}
    uid, gid = user.split(":")
    made = next(line for line in instructions("RUN") if "useradd" in line)
    assert f"--uid {uid} --gid {gid}" in made
    spool = environment("ingest")["EBBMARK_HTTP_SPOOL"]
    assert f"--owner {uid} --group {gid} --mode 0700 {spool}" in made
    assert instructions("ENTRYPOINT") == ['["ebbmark"]']


def test_whatever_the_image_installs_from_elsewhere_is_hashed() -> None:
    installs = [
        shlex.split(command)
        for line in instructions("RUN")
        for command in line.split("&&")
        if "pip" in command
    ]
    fetching = [words for words in installs if "install" in words and "--no-index" not in words]
    assert fetching
    for words in fetching:
        assert {"--require-hashes", "--only-binary"} <= set(words)
    for words in installs:
        if "--no-index" in words:
            assert "--no-deps" in words


def test_the_image_fetches_nothing_by_address() -> None:
    assert instructions("ADD") == []
    assert not re.search(r"\b(curl|wget|git|apt-get)\b|://", "\n".join(DOCKERFILE))


def test_the_last_stage_takes_only_the_environment() -> None:
    last = DOCKERFILE[max(n for n, line in enumerate(DOCKERFILE) if line.startswith("FROM")) :]
    assert [line for line in last if line.startswith("COPY")] == ["COPY --from=builder /venv /venv"]


def test_the_wheel_is_built_with_what_the_local_stack_is_built_with() -> None:
    def entries(path: Path) -> dict[str, str]:
        text = re.sub(r"^\s*#.*\n", "", path.read_text("utf-8"), flags=re.MULTILINE)
        return dict(re.findall(r"^([\w.-]+)==((?:.|\n )+)", text, flags=re.MULTILINE))

    locked, built = entries(ROOT / "requirements-devstack.lock"), entries(ROOT / "deploy" / "build.lock")
    assert "hatchling" in built
    for name, entry in built.items():
        assert entry.strip() == locked[name].strip(), name


def test_the_build_sees_what_the_wheel_is_made_of_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    seen = {line.removeprefix("!") for line in rules if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    files = {"requirements.lock", "deploy/build.lock", "pyproject.toml", "README.md", "LICENSE"}
    assert rules[0] == "*"
    assert seen == packages | files


def test_prometheus_keeps_exemplars_as_on_the_local_stack(tmp_path: Path) -> None:
    config = ROOT / "observability" / "prometheus" / "prometheus.yml"
    server = prometheus.prepare(
        tmp_path, tmp_path / "log", {"prometheus": 1}, Halt(), program="prometheus", config=config
    )
    flag = "--enable-feature=exemplar-storage"
    assert flag in SERVICES["prometheus"]["command"]
    assert flag in server.command


def test_grafana_is_as_closed_as_on_the_local_stack_and_finds_what_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = environment("grafana")
    elsewhere = ("GF_PATHS_", "GF_DASHBOARDS_")
    held = {name: value for name, value in here.items() if name.startswith("GF_")}
    assert {name: held[name] for name in held if not name.startswith(elsewhere)} == grafana.SETTINGS
    monkeypatch.setenv(grafana.TRACE_PAGE, TRACES)
    local = started_grafana(tmp_path, monkeypatch)
    where = {"GF_SERVER_HTTP_ADDR", "GF_SERVER_HTTP_PORT", "GF_PATHS_DATA"}  # as its image has them
    assert set(local) - set(here) == where
    source, target, mode = SERVICES["grafana"]["volumes"][1].split(":")
    assert mode == "ro"
    assert (ROOT / source).samefile(ROOT / "observability" / "grafana")
    for name in ("GF_PATHS_PROVISIONING", "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH", "DASHBOARDS"):
        inside = ROOT / source / Path(here[name]).relative_to(target)
        assert inside.samefile(local[name])
    assert here["PROMETHEUS_URL"] == "http://prometheus:9090"
    assert SERVICES["grafana"]["environment"]["TRACE_PAGE"] == f"${{{grafana.TRACE_PAGE}:-}}"
    assert local["TRACE_PAGE"] == TRACES


def started_grafana(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return what the local stack tells a Grafana that looks installed."""
    home = folder / "grafana"
    for made in ("bin", "conf"):
        (home / made).mkdir(parents=True)
    (home / "conf" / "defaults.ini").touch()
    (home / "bin" / "grafana").write_text("#!/bin/sh\n", "utf-8")
    (home / "bin" / "grafana").chmod(0o700)
    monkeypatch.setenv("PATH", str(home / "bin"))
    ports = {"grafana": 3, "prometheus": 4}
    server = grafana.prepare(
        folder / "data", folder / "log", ports, config=ROOT / "observability" / "grafana"
    )
    assert server.command == [str(home / "bin" / "grafana"), "server", f"--homepath={home}"]
    told: dict[str, str] = dict(server._env)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return {
        name: value
        for name, value in told.items()
        if name.startswith("GF_") or name in {"PROMETHEUS_URL", "DASHBOARDS", "TRACE_PAGE"}
    }


def test_the_exporters_tell_what_those_of_the_local_stack_do(tmp_path: Path) -> None:
    if set(exporters.present()) != set(exporters.TARGETS):
        missing("an exporter is not installed")
    ports = dict.fromkeys(exporters.TARGETS, 1) | {"postgres": 2}
    where = re.compile(r"--(path\.\w+|web\.listen-address)=.*")
    for name in exporters.TARGETS:
        local = exporters.prepare(name, tmp_path / "log", ports).command[1:]
        here = SERVICES[name]["command"]
        assert {flag for flag in local if not where.fullmatch(flag)} == {
            flag for flag in here if not where.fullmatch(flag)
        }


def test_postgres_s_exporter_is_the_monitor_and_reads_no_table() -> None:
    told = environment("postgres-exporter")
    assert told["DATA_SOURCE_USER"] == role(Settings().ledger, MONITOR)
    assert SERVICES["postgres-exporter"]["secrets"] == ["ledger_monitor_password"]
    mounted = f"/run/secrets/{SERVICES['postgres-exporter']['secrets'][0]}"
    assert told["DATA_SOURCE_PASS_FILE"] == mounted
    assert environment("prepare")["EBBMARK_LEDGER_MONITOR_PASSWORD_FILE"] == mounted
    assert MONITOR not in RIGHTS


def test_the_node_exporter_cannot_write_to_the_host() -> None:
    assert SERVICES["node-exporter"]["volumes"] == ["/:/host:ro,rslave"]
    assert "--path.rootfs=/host" in SERVICES["node-exporter"]["command"]
