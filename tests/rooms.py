"""A room is a set of names on shared servers that only one module of tests uses."""

import asyncio
import secrets
import time
from collections.abc import Sequence

import boto3
import msgspec
import psycopg
from confluent_kafka.admin import AdminClient
from psycopg import sql

from ebbmark.errors import Unavailable
from ebbmark.eventlog import EventLog
from ebbmark.ledger.postgres import conninfo
from ebbmark.settings import Kafka, Ledger, Settings, Store
from ebbmark.topics import E, Topic


def enter(servers: Settings) -> Settings:
    """Return settings with a topic prefix, a schema and a bucket that do not exist yet."""
    name = f"test{secrets.token_hex(4)}"
    return msgspec.structs.replace(
        servers,
        kafka=msgspec.structs.replace(servers.kafka, prefix=f"{name}."),
        ledger=msgspec.structs.replace(servers.ledger, schema=name),
        store=msgspec.structs.replace(servers.store, bucket=name),
    )


def leave(room: Settings) -> None:
    """Remove what was made under the room's names."""
    _drop_schema(room.ledger)
    leave_topics(room.kafka)
    _delete_bucket(room.store)


def _drop_schema(ledger: Ledger) -> None:
    with psycopg.connect(conninfo(ledger), autocommit=True) as connection:
        connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(ledger.schema)))


def leave_topics(kafka: Kafka) -> None:
    """Delete the topics of this prefix; return when they are gone."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 2})
    ours = [name for name in admin.list_topics(timeout=20).topics if name.startswith(kafka.prefix)]
    if ours:
        for deleted in admin.delete_topics(ours).values():
            deleted.result(20)
    # The controller has answered; the broker may still take and acknowledge events for what is dying.
    until = time.monotonic() + 20
    while set(ours) & set(admin.list_topics(timeout=20).topics):
        assert time.monotonic() < until, "the topics do not go"
        time.sleep(0.05)


def _delete_bucket(store: Store) -> None:
    bucket = boto3.resource(
        "s3",
        endpoint_url=store.endpoint,
        region_name=store.region,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
    ).Bucket(store.bucket)
    if bucket.creation_date is not None:
        bucket.objects.all().delete()
        bucket.delete()


async def publish_in_the_end(log: EventLog, topic: Topic[E], events: Sequence[E]) -> None:
    """Publish to topics that were made this moment, and so may not be known everywhere yet."""
    async with asyncio.timeout(60):
        while True:
            try:
                await log.publish(topic, events)
            except Unavailable:
                continue
            return
