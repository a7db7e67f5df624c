"""One stack of real servers per run, begun when first asked for; each module has a room of its own."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import NoReturn

import httpx
import msgspec
import playwright.async_api
import pytest
import pytest_asyncio

from devstack import exporters, prometheus
from devstack.halt import Halt
from devstack.process import DevstackError
from devstack.supervisor import SERVERS, Stack
from ebbmark.eventlog import create_topics
from ebbmark.ledger.postgres import migrate
from ebbmark.settings import Kafka, Ledger, Settings, Store
from ebbmark.store import S3Store
from tests import people, rooms, system

ROOT = Path(__file__).parents[1]

CHROMIUM_FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--headless=new",
    "--no-first-run",
    "--no-proxy-server",
    "--no-sandbox",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        choices=["own", "env"],
        default="own",
        help="own: start a stack for this run (default); env: use the servers that EBBMARK_… names",
    )
    parser.addoption(
        "--examples",
        type=int,
        help="how many requests of each kind the fuzz makes, at random; without it few, always the same",
    )
    parser.addoption(
        "--fuzz",
        type=float,
        metavar="SECONDS",
        help="how long bytes, recipes and templates are fuzzed, at random; without it 20, always the same",
    )
    parser.addoption(
        "--outage",
        type=float,
        metavar="SECONDS",
        default=60.0,
        help="how long a server is gone in the tests of long outages; 60 by default, 600 is what is promised",
    )


def pytest_configure() -> None:
    """Have Ctrl-C work: what a shell runs in its background ignores it, and so does all that that starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with a browser share its event loop; it is started once a run."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


def missing(what: str) -> NoReturn:
    """Skip on a laptop, fail where all must be there."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def promtool() -> str:
    """The program that checks what Prometheus is told."""
    return shutil.which("promtool") or missing("promtool is not installed")


@pytest.fixture(scope="session")
def amtool() -> str:
    """The program that checks what Alertmanager is told."""
    return shutil.which("amtool") or missing("prometheus-alertmanager is not installed")


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka, Postgres and the store, and what exporters there are; what a test stops it starts again."""
    if request.config.getoption("--servers") != "own":
        pytest.skip("needs servers of its own")
    running = Stack(tmp_path_factory.mktemp("stack"), services=(*SERVERS, *exporters.present()))
    try:
        running.start()
    except DevstackError as exc:
        missing(f"The servers do not run here: {exc}")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Settings:
    """Where the servers of this run are; under the names in these settings nothing may be made."""
    if request.config.getoption("--servers") == "env":
        return Settings.from_env()
    stack: Stack = request.getfixturevalue("stack")
    at = stack.endpoints
    return Settings(
        kafka=Kafka(bootstrap=at.kafka),
        ledger=Ledger(url=at.postgres),
        store=Store(endpoint=at.s3, access_key=at.s3_access_key, secret_key=at.s3_secret_key),
    )


@pytest.fixture(scope="module")
def room(servers: Settings) -> Iterator[Settings]:
    """Settings whose names nobody else uses; nothing of these names exists yet."""
    entered = rooms.enter(servers)
    yield entered
    rooms.leave(entered)


@pytest.fixture(scope="module")
def ledger_settings(room: Settings) -> Ledger:
    """A migrated schema."""
    migrate(room.ledger)
    return room.ledger


@pytest.fixture(scope="module")
def store_settings(room: Settings) -> Store:
    """An empty bucket."""
    asyncio.run(S3Store(room.store).prepare())
    return room.store


@pytest.fixture(scope="module")
def kafka_settings(room: Settings) -> Kafka:
    """All topics, empty."""
    create_topics(room.kafka)
    return room.kafka


@pytest.fixture(scope="module")
def settings(
    room: Settings, ledger_settings: Ledger, store_settings: Store, kafka_settings: Kafka
) -> Settings:
    """Everything prepared: schema, bucket and topics."""
    return msgspec.structs.replace(room, ledger=ledger_settings, store=store_settings, kafka=kafka_settings)


@pytest.fixture(scope="module")
def system_settings(room: Settings) -> Settings:
    """What `running_system` runs with; a module that wants other limits or durations overrides this."""
    return msgspec.structs.replace(
        room,
        worker=msgspec.structs.replace(room.worker, children=1),
        log=msgspec.structs.replace(room.log, format="console"),
    )


@pytest.fixture(scope="module")
def running_system(stack: Stack, system_settings: Settings) -> Iterator[system.System]:
    """Ingest, two workers and the janitor as child processes, ready for requests."""
    with system.running(stack, system_settings) as running:
        yield running


@pytest.fixture(scope="module")
def load_port() -> int:
    """Where `watched` looks for the load generator of this module."""
    return system.free_port()


@pytest.fixture(scope="module")
def watched(
    running_system: system.System, load_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A Prometheus that scrapes the running system, started as the local stack starts it."""
    program = prometheus.binary()
    if program is None:
        missing("prometheus is not installed")
    stack = running_system.stack
    ports = {"prometheus": stack.choose_ports(["watch"])["watch"]}
    config = tmp_path_factory.mktemp("config") / "prometheus"
    shutil.copytree(ROOT / "observability" / "prometheus", config)
    told = (config / "prometheus.yml").read_text("utf-8")
    (config / "prometheus.yml").write_text(told.replace(":9646", f":{load_port}"), "utf-8")
    server = prometheus.prepare(
        stack.data / "prometheus",
        tmp_path_factory.mktemp("prometheus") / "prometheus.log",
        ports,
        Halt(),
        program=program,
        config=config / "prometheus.yml",
    )
    server.start()
    try:
        people.eventually(lambda: prometheus.ready(ports), bool)
        with httpx.Client(base_url=f"http://127.0.0.1:{ports['prometheus']}") as client:
            yield client
    finally:
        server.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncGenerator[playwright.async_api.Browser]:
    """Chromium; every test opens a context of its own."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        missing("There is no Chromium here.")
    async with playwright.async_api.async_playwright() as driver:
        launched = await driver.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield launched
        await launched.close()
