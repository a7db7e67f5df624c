"""After the end of all jobs the disks are searched for what people sent: photos, names and words."""

import asyncio
import json
import re
import secrets
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import boto3
import msgspec
import psycopg
import pytest
from PIL import Image, PngImagePlugin
from psycopg import sql

from devstack import seaweedfs
from ebbmark.ledger.postgres import conninfo
from ebbmark.settings import Job, Settings, Webhook
from ebbmark.store import S3Store, original_key
from janitor.audit import KINDS
from tests.people import Person, eventually, opened, photo, saved_as
from tests.system import System, process_environment

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

PIXELS = f"mark-{secrets.token_hex(12)}"
"""In the photos' bytes beside the pixels: a comment, a text, the artist's name."""
WORDS = f"word-{secrets.token_hex(12)}"
"""What people write besides: names of files, the text of a watermark, a webhook's path and reference."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The temporary folder of all processes that are started from now on."""
    folder = tmp_path_factory.mktemp("tmp")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TMPDIR", str(folder))
        yield folder


@pytest.fixture(scope="module")
def receiver() -> Iterator[int]:
    """A port on which nobody answers: its address is kept for as long as it may be."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture(scope="module")
def system_settings(room: Settings, folder: Path, receiver: int) -> Settings:
    job = {"ttl": "PT6S", "grace": "PT1S", "quiet": "PT2S", "upload_deadline": "PT10S"}
    webhook = {
        "allow_http": True,
        "networks": "127.0.0.1/32",
        "ports": str(receiver),
        "first_wait": "PT1S",
        "farewell": "PT3S",
    }
    spool = folder / "spool"
    spool.mkdir()
    return msgspec.structs.replace(
        room,
        job=msgspec.convert(job, Job, strict=False),
        http=msgspec.structs.replace(room.http, spool=str(spool)),
        webhook=msgspec.convert(webhook, Webhook, strict=False),
        worker=msgspec.structs.replace(room.worker, children=1),
        janitor=msgspec.structs.replace(room.janitor, audit=room.janitor.sweep),
        log=msgspec.structs.replace(room.log, format="console"),
    )


def marked(image: Image.Image, form: str) -> bytes:
    """Return the image as a file with the mark beside its pixels."""
    exif = Image.Exif()
    exif[0x013B] = f"{PIXELS} artist"
    if form == "JPEG":
        return saved_as(image, form, comment=PIXELS.encode(), exif=exif)
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", PIXELS)
    return saved_as(image, form, pnginfo=text, exif=exif)


def files_with(word: str, *folders: Path) -> set[str]:
    """Return the files on disk that hold the word."""
    found = subprocess.run(
        ["grep", "-rlaF", "--", word, *map(str, folders)], capture_output=True, text=True, check=False
    )
    # The topics of another module's tests may be going while we look: what is gone holds nothing.
    wrong = [line for line in found.stderr.splitlines() if not line.endswith("No such file or directory")]
    assert not wrong
    return set(found.stdout.splitlines())


def vacuum(system: System) -> None:
    """Have the store do at once what it does by itself every ten minutes."""
    master = f"http://127.0.0.1:{system.stack.ports['seaweedfs-master']}"
    with urllib.request.urlopen(  # noqa: S310 - our own server
        f"{master}/vol/vacuum?garbageThreshold={seaweedfs.GARBAGE}", timeout=60
    ) as answer:
        assert answer.status == 200


def counted(system: System, query: str) -> int:
    with psycopg.connect(conninfo(system.settings.ledger)) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def send_everything(ann: Person, receiver: int) -> int:
    """Send jobs of every kind, each with the marks; return how many there are."""
    image = opened(photo(320, 240))
    jpeg, png = marked(image, "JPEG"), marked(image, "PNG")
    large = marked(Image.effect_noise((1200, 900), 60), "PNG")
    assert len(large) > 256 * 1024, "small uploads are not written to the spool"
    fields = {
        "operations": "watermark",
        "text": WORDS,
        "webhook": f"http://127.0.0.1:{receiver}/{WORDS}",
        "webhook_reference": WORDS,
    }
    uploads = [(f"{WORDS}.jpg", jpeg), (f"{WORDS}.png", large), ("broken.jpg", jpeg[: len(jpeg) // 2])]
    ann.wait_until_complete(ann.send(uploads, **fields))
    deleted = ann.send([(f"{WORDS}.png", png)], **fields)
    assert ann.http.delete(deleted).status_code == 204
    unsealed = ann.open(**fields)
    assert ann.put(unsealed, 0, (f"{WORDS}.jpg", jpeg)).status_code == 201
    return 3


def test_no_disk_holds_a_byte_of_a_photo_and_the_ledger_holds_no_word(
    running_system: System, folder: Path, receiver: int
) -> None:
    system = running_system
    disks = (system.stack.data, folder)
    with ExitStack() as stack:
        ann = stack.enter_context(Person(system.base_url))
        jobs = send_everything(ann, receiver)
    assert files_with(PIXELS, *disks), "it can be found while it is there"
    eventually(
        lambda: counted(system, "select count(*) from jobs where verified_at is not null"),
        lambda verified: verified == jobs,
    )
    eventually(lambda: counted(system, "select count(*) from webhooks"), lambda left: left == 0)

    store = system.settings.store
    s3 = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name=store.region,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
    )
    assert s3.list_objects_v2(Bucket=store.bucket).get("Contents", []) == []
    assert s3.list_multipart_uploads(Bucket=store.bucket).get("Uploads", []) == []
    vacuum(system)
    assert files_with(PIXELS, *disks) == set()
    assert list((folder / "spool").iterdir()) == []

    with psycopg.connect(conninfo(system.settings.ledger), autocommit=True) as connection:
        tables = [
            name
            for (name,) in connection.execute(
                "select table_name from information_schema.tables where table_schema = current_schema()"
            )
        ]
        assert {"jobs", "photos", "webhooks", "deliveries", "deletions", "audits"} <= set(tables)
        for name in tables:
            rows = connection.execute(sql.SQL("select {0}::text from {0}").format(sql.Identifier(name)))
            assert WORDS not in str(rows.fetchall()), name
        # Neither Kafka, the store, a log nor a worker's folder has a word of it.
        remains = {Path(path).relative_to(system.stack.data).parts[0] for path in files_with(WORDS, *disks)}
        assert remains <= {"postgres"}
        # What the database keeps for itself goes as the manual says.
        for command in ("vacuum full", "select pg_switch_wal()", "checkpoint"):
            connection.execute(command.encode())
    assert files_with(WORDS, *disks) == set()


def audited(system: System) -> tuple[int, dict[str, int]]:
    """Run the operator's command; return its exit code and what it found of each kind."""
    ran = subprocess.run(
        [sys.executable, "-m", "ebbmark.cli", "audit", "--json"],
        env=process_environment(system.settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode in {0, 1}, ran.stderr
    return ran.returncode, json.loads(ran.stdout)["findings"]


def measured(system: System) -> dict[str, float]:
    """Return what the janitor's metrics say of its last audit, by kind."""
    with urllib.request.urlopen(system.processes["janitor"].url, timeout=10) as answer:  # noqa: S310 - ours
        text = answer.read().decode()
    found = re.findall(r'^ebbmark_audit_findings\{kind="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {kind: float(count) for kind, count in found}


def test_the_operator_is_told_what_is_wrong_and_the_janitor_sees_to_it(running_system: System) -> None:
    system, store = running_system, running_system.settings.store
    well = dict.fromkeys(KINDS, 0)
    assert audited(system) == (0, well)
    eventually(lambda: measured(system), lambda seen: seen == well)
    system.processes["janitor"].pause()  # or it might be quicker
    try:
        asyncio.run(S3Store(store).put(original_key(uuid4(), 0, b"a" * 32), b"left over"))
        asyncio.run(S3Store(store).put("holiday.jpg", b"somebody's"))
        assert audited(system) == (1, well | {"orphan": 1, "foreign": 1})
    finally:
        system.processes["janitor"].resume()
    eventually(lambda: measured(system)["foreign"], lambda seen: seen == 1)
    eventually(lambda: asyncio.run(S3Store(store).keys("")), lambda keys: keys == ["holiday.jpg"])
    eventually(lambda: measured(system), lambda seen: seen == well | {"foreign": 1})
    asyncio.run(S3Store(store).delete(["holiday.jpg"]))
