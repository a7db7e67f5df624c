"""Each service may have a role of its own in the database, which can do that service's part and no more."""

from collections.abc import Mapping
from types import MappingProxyType

import psycopg
from psycopg import sql

from ebbmark.settings import Ledger as LedgerSettings

RIGHTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "ingest": {
            "jobs": "select, insert, update",
            "photos": "select, insert, update",
            "webhooks": "select, insert",
            "deliveries": "select, update",
            "deletions": "select",
            "audits": "select",
            "dead_letters": "select, update",
        },
        "worker": {
            "jobs": "select, update",
            "photos": "select, update",
            "webhooks": "select, delete",
            "deliveries": "select, insert, update",
        },
        "janitor": {
            "jobs": "select, update, delete",
            "photos": "select, update",
            "webhooks": "select (job), delete",  # whom they tell, and with what secret, is not its business
            "deliveries": "select, insert, update",
            "deletions": "select, insert, update",
            "audits": "select, insert, update",
            "dead_letters": "select, insert, update, delete",
        },
    }
)
"""What each service may do, by table."""

MONITOR = "monitor"
"""Of PostgreSQL's exporter: it sees how the server fares, and no table."""


def role(settings: LedgerSettings, service: str) -> str:
    """Return the name of the role of a service, or of the monitor."""
    return f"{settings.schema}_{service}"


def grant(connection: psycopg.Connection, settings: LedgerSettings) -> None:
    """Make the roles whose passwords are given, and let each do its part; may be repeated.

    Whoever migrates must be allowed to make roles, and keeps the tables: no service can change them.
    """
    for service, rights in RIGHTS.items():
        password: str = getattr(settings, f"{service}_password")
        if not password:
            continue
        scope = {
            "schema": sql.Identifier(settings.schema),
            "role": _login(connection, role(settings, service), password),
        }
        connection.execute(sql.SQL("revoke all on all tables in schema {schema} from {role}").format(**scope))
        connection.execute(sql.SQL("grant usage on schema {schema} to {role}").format(**scope))
        for table, what in rights.items():
            given = sql.SQL(f"grant {what} on {{schema}}.{{table}} to {{role}}")  # pyright: ignore[reportArgumentType] - our own words
            connection.execute(given.format(**scope, table=sql.Identifier(table)))
    if settings.monitor_password:
        monitor = _login(connection, role(settings, MONITOR), settings.monitor_password)
        connection.execute(sql.SQL("grant pg_monitor to {}").format(monitor))


def _login(connection: psycopg.Connection, name: str, password: str) -> sql.Identifier:
    # Only its digest travels, as statements may end in the server's log.
    digest = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
    known = connection.execute("select 1 from pg_roles where rolname = %s", [name]).fetchone()
    made = sql.SQL("alter role {} login password {}" if known else "create role {} login password {}")
    connection.execute(made.format(sql.Identifier(name), sql.Literal(digest.decode())))
    return sql.Identifier(name)
