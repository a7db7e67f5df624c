"""One stack of real servers per run, begun when first asked for; each module has a room of its own."""

import asyncio
import secrets
from collections.abc import Iterator

import msgspec
import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from psycopg import sql

from ebbmark.eventlog import create_topics
from ebbmark.ledger.postgres import conninfo, migrate
from ebbmark.settings import Kafka, Ledger, Settings, Store
from ebbmark.store import S3Store
from ebbmark.topics import TOPICS


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        choices=["own", "env"],
        default="own",
        help="own: start a stack for this run (default); env: use the servers that EBBMARK_… names",
    )


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Settings:
    """The servers of this run; nothing of this run's is on them yet."""
    if request.config.getoption("--servers") == "env":
        return Settings.from_env()
    raise NotImplementedError


@pytest.fixture(scope="module")
def room(servers: Settings) -> Settings:
    """Names that nobody else uses; nothing of these names exists yet."""
    name = f"test{secrets.token_hex(4)}"
    return msgspec.structs.replace(
        servers,
        kafka=msgspec.structs.replace(servers.kafka, prefix=f"{name}."),
        ledger=msgspec.structs.replace(servers.ledger, schema=name),
        store=msgspec.structs.replace(servers.store, bucket=name),
    )


@pytest.fixture(scope="module")
def ledger_settings(room: Settings) -> Iterator[Ledger]:
    """A migrated schema."""
    migrate(room.ledger)
    yield room.ledger
    with psycopg.connect(conninfo(room.ledger), autocommit=True) as connection:
        connection.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(room.ledger.schema)))


@pytest.fixture(scope="module")
def store_settings(room: Settings) -> Iterator[Store]:
    """An empty bucket."""
    asyncio.run(S3Store(room.store).prepare())
    yield room.store
    asyncio.run(S3Store(room.store).delete_prefix(""))


@pytest.fixture(scope="module")
def kafka_settings(room: Settings) -> Iterator[Kafka]:
    """All topics, empty."""
    create_topics(room.kafka)
    yield room.kafka
    admin = AdminClient({"bootstrap.servers": room.kafka.bootstrap, "log_level": 2})
    for deleted in admin.delete_topics([room.kafka.prefix + topic.name for topic in TOPICS]).values():
        deleted.result(20)


@pytest.fixture(scope="module")
def settings(
    room: Settings, ledger_settings: Ledger, store_settings: Store, kafka_settings: Kafka
) -> Settings:
    """Everything prepared: schema, bucket and topics."""
    return msgspec.structs.replace(room, ledger=ledger_settings, store=store_settings, kafka=kafka_settings)
