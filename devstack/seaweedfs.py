"""SeaweedFS: master, volume, filer and S3 gateway in one process."""

import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from pathlib import Path

from devstack.ports import HOST
from devstack.process import Process

_PARTS = ("master", "volume", "filer", "s3")
PORTS = tuple(f"seaweedfs-{part}{grpc}" for part in _PARTS for grpc in ("", "-grpc"))


def prepare(data: Path, log: Path, ports: dict[str, int]) -> Process:
    """Return the server. Its keys are made on first use and kept with the data."""
    (data / "volumes").mkdir(parents=True, exist_ok=True)
    access, secret = keys(data)
    identity = {
        "name": "ebbmark",
        "credentials": [{"accessKey": access, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = data / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}), "utf-8")
    config.chmod(0o600)
    command = [
        str(Path(sys.executable).with_name("weed")),
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
        "-master.peers=none",  # alone: no election, which takes 10 s after a restart
        "-master.volumeSizeLimitMB=1024",
        "-volume.max=0",
        "-idleTimeout=5",
    ]
    for part in _PARTS:
        command += [
            f"-{part}.port={ports[f'seaweedfs-{part}']}",
            f"-{part}.port.grpc={ports[f'seaweedfs-{part}-grpc']}",
        ]
        command += [f"-{part}.localSocket={data / f'{part}.sock'}"] if part in {"filer", "s3"} else []
    env = {
        **os.environ,
        "GOMEMLIMIT": "256MiB",
        # A bucket starts with one volume instead of seven: tests make many buckets.
        "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
    }
    return Process("seaweedfs", command, log=log, env=env, stop_within=4)


def keys(data: Path) -> tuple[str, str]:
    """Return the access key and the secret key."""
    path = data / "keys.json"
    if not path.exists():
        made = json.dumps([secrets.token_hex(10), secrets.token_hex(20)])
        path.touch(0o600)
        path.write_text(made, "utf-8")
    access, secret = json.loads(path.read_text("utf-8"))
    return access, secret


def ready(ports: dict[str, int]) -> bool:
    """Return whether a volume can be written to and the S3 gateway answers."""
    assign = f"http://{HOST}:{ports['seaweedfs-master']}/dir/assign"
    return b'"fid"' in _get(assign) and bool(_get(f"http://{HOST}:{ports['seaweedfs-s3']}/"))


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - http, on loopback
            return answer.read()
    except urllib.error.HTTPError as refused:
        return refused.read()
    except OSError:
        return b""
