"""What the local stack tells its servers and the Ebbmark processes."""

import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from devstack import exporters, grafana, jars, kafka, postgres, prometheus, seaweedfs
from devstack.halt import Halt
from devstack.process import DevstackError
from devstack.services import dotenv, ebbmark_processes, environment
from devstack.supervisor import Endpoints, Stack
from ebbmark.settings import PREFIX, Settings

# As the kernel names a process that runs PostgreSQL; 15 is PR_SET_NAME.
NAMED_POSTGRES = """
import ctypes, time
ctypes.CDLL(None).prctl(15, b"postgres")
print("begun", flush=True)
time.sleep(600)
"""
ENDPOINTS = Endpoints(
    kafka="127.0.0.1:1",
    postgres="postgresql://postgres@127.0.0.1:2/ebbmark",
    s3="http://127.0.0.1:3",
    s3_access_key="access",
    s3_secret_key="secret",  # noqa: S106 - of nothing
)


class TestEnvironment:
    def test_it_makes_settings_that_name_the_servers(self, tmp_path: Path) -> None:
        settings = Settings.from_env(environment(ENDPOINTS, {}, data=tmp_path, port=8123))
        assert settings.http.port == 8123
        assert settings.kafka.bootstrap == "127.0.0.1:1"
        assert settings.ledger.url == "postgresql://postgres@127.0.0.1:2/ebbmark"
        assert settings.store.endpoint == "http://127.0.0.1:3"
        assert (settings.store.access_key, settings.store.secret_key) == ("access", "secret")
        assert Path(settings.http.spool).is_dir()

    def test_what_the_user_set_passes_through(self, tmp_path: Path) -> None:
        given = {"EBBMARK_JOB_TTL": "PT20S", "EBBMARK_LOG_FORMAT": "json", "EBBMARK_HTTP_HOST": "0.0.0.0"}  # noqa: S104
        settings = Settings.from_env(environment(ENDPOINTS, given, data=tmp_path, port=8123))
        assert settings.job.ttl.total_seconds() == 20
        assert (settings.log.format, settings.http.host) == ("json", "0.0.0.0")  # noqa: S104

    def test_what_names_servers_elsewhere_gives_way_however_it_is_spelt(self, tmp_path: Path) -> None:
        ours = environment(ENDPOINTS, {}, data=tmp_path, port=8123)
        forced = [
            *("HTTP_PORT", "KAFKA_BOOTSTRAP", "LEDGER_URL", "LEDGER_PASSWORD"),
            *("STORE_ENDPOINT", "STORE_ACCESS_KEY", "STORE_SECRET_KEY"),
        ]
        given = {f"{PREFIX}{name}{file}": "/no/such/file" for name in forced for file in ("", "_FILE")}
        assert environment(ENDPOINTS, given, data=tmp_path, port=8123) == ours

    def test_a_default_gives_way_to_a_file(self, tmp_path: Path) -> None:
        name = tmp_path / "bucket"
        name.write_text("photos\n")
        given = {"EBBMARK_STORE_BUCKET_FILE": str(name)}
        settings = Settings.from_env(environment(ENDPOINTS, given, data=tmp_path, port=8123))
        assert settings.store.bucket == "photos"

    def test_a_file_does_not_rename_a_worker(self, tmp_path: Path) -> None:
        name = tmp_path / "instance"
        name.write_text("everybody")
        given = {"EBBMARK_WORKER_INSTANCE_FILE": str(name)}
        processes = ebbmark_processes(Stack(tmp_path), given, workers=2, port=8123)
        own = {process.name: process._env for process in processes}  # noqa: SLF001
        for worker in ("worker-1", "worker-2"):
            told = {name: value for name, value in own[worker].items() if name.startswith(PREFIX)}
            assert Settings.from_env(told).worker.instance == worker

    def test_the_name_of_the_prometheus_program_is_no_setting_of_theirs(self, tmp_path: Path) -> None:
        given = {"EBBMARK_PROMETHEUS_BIN": "/usr/bin/prometheus"}
        assert "EBBMARK_PROMETHEUS_BIN" not in environment(ENDPOINTS, given, data=tmp_path, port=8123)

    def test_every_variable_of_every_process_is_a_setting(self, tmp_path: Path) -> None:
        stack = Stack(tmp_path)
        env = environment(ENDPOINTS, {}, data=tmp_path, port=8123)
        own = [process._env for process in ebbmark_processes(stack, env, workers=2, port=8123)]  # noqa: SLF001
        for each in own:
            Settings.from_env({name: value for name, value in each.items() if name.startswith(PREFIX)})


class TestProcesses:
    def test_there_are_ingest_the_workers_and_the_janitor(self, tmp_path: Path) -> None:
        processes = list(ebbmark_processes(Stack(tmp_path), {}, workers=2, port=8123))
        assert [process.name for process in processes] == ["ingest", "worker-1", "worker-2", "janitor"]
        assert [process.command[-1] for process in processes] == ["ingest", "worker", "worker", "janitor"]

    def test_prometheus_learns_where_each_serves_its_metrics(self, tmp_path: Path) -> None:
        list(ebbmark_processes(Stack(tmp_path), {}, workers=2, port=8123))
        groups = json.loads((tmp_path / "prometheus" / "targets.json").read_text())
        assert [group["labels"] for group in groups] == [
            {"job": "ingest", "process": "ingest"},
            {"job": "worker", "process": "worker-1"},
            {"job": "worker", "process": "worker-2"},
            {"job": "janitor", "process": "janitor"},
        ]
        assert groups[0]["targets"] == ["127.0.0.1:8123"]
        assert len({target for group in groups for target in group["targets"]}) == 4

    def test_each_is_asked_where_it_listens(self, tmp_path: Path) -> None:
        given = {
            "EBBMARK_HTTP_HOST": "0.0.0.0",  # noqa: S104 - where all listen
            "EBBMARK_WORKER_METRICS_HOST": "192.0.2.1",
        }
        processes = list(ebbmark_processes(Stack(tmp_path), given, workers=1, port=8123))
        groups = json.loads((tmp_path / "prometheus" / "targets.json").read_text())
        ingest, worker, janitor = (group["targets"][0] for group in groups)
        assert [process.url for process in processes] == [
            f"http://{ingest}/readyz",
            f"http://{worker}/metrics",
            f"http://{janitor}/metrics",
        ]
        assert ingest == "127.0.0.1:8123"
        assert worker.startswith("192.0.2.1:")
        assert janitor.startswith("127.0.0.1:")

    def test_their_metrics_stay_on_their_ports(self, tmp_path: Path) -> None:
        list(ebbmark_processes(Stack(tmp_path), {}, workers=1, port=8123))
        first = (tmp_path / "prometheus" / "targets.json").read_text()
        list(ebbmark_processes(Stack(tmp_path), {}, workers=1, port=8123))
        assert (tmp_path / "prometheus" / "targets.json").read_text() == first


class TestDotenv:
    def test_it_is_lines_of_names_and_values(self, tmp_path: Path) -> None:
        (tmp_path / ".env").write_text(
            "# a comment\n\nEBBMARK_JOB_TTL=PT20S\nexport A = b \nQUOTED='a # b'\nURL=http://x/?a=b\nEMPTY=\n"
        )
        assert dotenv(tmp_path / ".env") == {
            "EBBMARK_JOB_TTL": "PT20S",
            "A": "b",
            "QUOTED": "a # b",
            "URL": "http://x/?a=b",
            "EMPTY": "",
        }

    def test_without_a_file_there_is_nothing(self, tmp_path: Path) -> None:
        assert dotenv(tmp_path / ".env") == {}


class TestJars:
    def test_each_is_locked_by_coordinates_and_sha256(self) -> None:
        locked = jars.locked()
        assert "org.apache.kafka:kafka_2.13:4.3.1" in locked
        assert all(re.fullmatch(r"[\w.-]+:[\w.-]+:[\w.-]+", name) for name in locked)
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in locked.values())

    def test_it_is_kept_where_maven_keeps_it(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("M2_REPO", str(tmp_path))
        expected = tmp_path / "org/slf4j/slf4j-api/1.7.36/slf4j-api-1.7.36.jar"
        assert jars.path_of("org.slf4j:slf4j-api:1.7.36") == expected

    def test_one_that_is_cut_short_is_not_sound(self, tmp_path: Path) -> None:
        (tmp_path / "a.jar").write_bytes(b"whole")
        digest = hashlib.sha256(b"whole").hexdigest()
        assert jars.is_sound(tmp_path / "a.jar", digest)
        (tmp_path / "a.jar").write_bytes(b"who")
        assert not jars.is_sound(tmp_path / "a.jar", digest)
        assert not jars.is_sound(tmp_path / "b.jar", digest)


class TestServers:
    def test_kafka_listens_on_loopback_alone(self, tmp_path: Path) -> None:
        settings = kafka.settings(tmp_path, {"kafka": 1, "kafka-controller": 2})
        assert settings["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"

    def test_whoever_asks_kafka_through_a_proxy_is_sent_to_the_proxy(self, tmp_path: Path) -> None:
        ports = {"kafka": 1, "kafka-controller": 2, "kafka-proxied": 3, "kafka-proxy": 4}
        settings = kafka.settings(tmp_path, ports)
        assert settings["listeners"].endswith(",PROXIED://127.0.0.1:3")
        assert settings["advertised.listeners"] == "PLAINTEXT://127.0.0.1:1,PROXIED://127.0.0.1:4"
        assert settings["listener.security.protocol.map"].endswith(",PROXIED:PLAINTEXT")

    def test_no_cluster_id_looks_like_an_option(self) -> None:
        assert all(re.fullmatch(r"[\w][\w-]{21}", kafka.new_id()) for _ in range(1000))

    @pytest.mark.parametrize("its_own", [False, True], ids=["elsewhere", "there"])
    def test_only_a_server_that_runs_there_keeps_its_note(self, tmp_path: Path, *, its_own: bool) -> None:
        cluster, other = tmp_path / "ours" / "cluster", tmp_path / "other"
        cluster.mkdir(parents=True)
        (tmp_path / "ours" / "made").touch()
        other.mkdir()
        works_in = cluster if its_own else other
        command = [sys.executable, "-c", NAMED_POSTGRES]
        with subprocess.Popen(command, cwd=works_in, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"begun\n"
            noted = cluster / "postmaster.pid"
            noted.write_text(f"{server.pid}\n{cluster}\n")
            postgres.prepare(tmp_path / "ours", tmp_path / "postgres.log", {"postgres": 1}, Halt())
            server.kill()
        assert noted.exists() is its_own

    def test_the_keys_of_the_object_store_are_made_once(self, tmp_path: Path) -> None:
        assert seaweedfs.keys(tmp_path) == seaweedfs.keys(tmp_path)
        assert len(set(seaweedfs.keys(tmp_path))) == 2

    def test_a_prometheus_that_is_none_is_refused_by_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EBBMARK_PROMETHEUS_BIN", "/no/such/program")
        with pytest.raises(DevstackError, match="EBBMARK_PROMETHEUS_BIN names /no/such/program"):
            prometheus.binary()

    def test_exporters_listen_on_loopback_alone_and_tell_of_our_database(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for names in exporters.PROGRAMS.values():
            installed(tmp_path, names[0])
        monkeypatch.setenv("PATH", str(tmp_path))
        assert exporters.present() == [exporters.NODE, exporters.POSTGRES]
        ports = {exporters.NODE: 1, exporters.POSTGRES: 2, "postgres": 3}
        for name in exporters.present():
            server = exporters.prepare(name, tmp_path / "log", ports)
            assert server.command[:2] == [
                str(tmp_path / exporters.PROGRAMS[name][0]),
                f"--web.listen-address=127.0.0.1:{ports[name]}",
            ]
        assert server._env["DATA_SOURCE_NAME"].startswith("postgresql://postgres@127.0.0.1:3/ebbmark")  # noqa: SLF001

    def test_what_is_not_installed_is_left_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert exporters.present() == []
        assert not grafana.present()
        installed(tmp_path, "grafana")
        assert not grafana.present(), "without its defaults it does not start"

    def test_an_older_grafana_has_a_program_of_its_own_for_the_server(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        installed(tmp_path / "bin", "grafana-server")
        (tmp_path / "conf").mkdir()
        (tmp_path / "conf" / "defaults.ini").touch()
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setenv("GF_AUTH_ANONYMOUS_ORG_ROLE", "Admin")
        ports = {"grafana": 1, "prometheus": 2}
        server = grafana.prepare(
            tmp_path / "data", tmp_path / "log", ports, config=Path("observability/grafana")
        )
        assert server.command == [str(tmp_path / "bin" / "grafana-server"), f"--homepath={tmp_path}"]
        told = server._env  # noqa: SLF001
        assert told["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer", "whatever its environment says"
        assert (told["GF_SERVER_HTTP_ADDR"], told["GF_SERVER_HTTP_PORT"]) == ("127.0.0.1", "1")
        assert told["PROMETHEUS_URL"] == "http://127.0.0.1:2"
        assert Path(told["DASHBOARDS"]).is_absolute()


def installed(folder: Path, name: str) -> None:
    """Put a program of this name there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n", "utf-8")
    (folder / name).chmod(0o700)


def test_make_takes_a_data_folder_whose_name_has_spaces() -> None:
    said = subprocess.run(
        ["make", "--dry-run", "up", "DATA=/some where/else"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=True,
        text=True,
    )
    (line,) = (
        each for each in said.stdout.splitlines() if "devstack up" in each
    )  # make adds lines of its own
    words = shlex.split(line)
    assert words[words.index("--data") + 1] == "/some where/else"
