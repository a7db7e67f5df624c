"""`ebbmark audit`: one audit now, told to the person at the terminal; nothing is deleted or noted."""

import asyncio
import sys
from collections.abc import Sequence

import msgspec

from ebbmark.ledger import Ledger
from ebbmark.ledger.postgres import PostgresLedger
from ebbmark.settings import Settings
from ebbmark.store import ObjectStore, S3Store
from janitor.audit import KINDS, Audit, Finding, audit

_SHOWN = 1000


def run(settings: Settings, *, as_json: bool) -> int:
    """Audit and report; return 1 when anything is wrong."""
    return asyncio.run(_run(settings, as_json=as_json))


async def _run(settings: Settings, *, as_json: bool) -> int:
    async with PostgresLedger(settings.ledger) as ledger:
        done, findings = await look(settings, ledger, S3Store(settings.store))
    sys.stdout.write(machine_readable(done, findings) if as_json else table(done, findings))
    return 1 if done.audited.findings else 0


async def look(settings: Settings, ledger: Ledger, store: ObjectStore) -> tuple[Audit, Sequence[Finding]]:
    """Return how the audit went, and the first thousand of its findings."""
    shown: list[Finding] = []

    async def keep(findings: Sequence[Finding]) -> None:
        shown.extend(findings[: _SHOWN - len(shown)])

    return await audit(ledger, store, settings.job, keep), shown


def machine_readable(done: Audit, findings: Sequence[Finding]) -> str:
    """Return the report as one JSON object."""
    report = {
        **msgspec.structs.asdict(done.audited),
        "findings": done.counts,
        "shown": [{"kind": each.kind, "job": each.job, "key": each.key} for each in findings],
    }
    return msgspec.json.encode(report).decode() + "\n"


def table(done: Audit, findings: Sequence[Finding]) -> str:
    """Return the report as people read it."""
    about = done.audited
    lines = [f"{about.objects} objects, {about.bytes} bytes, at {about.started_at:%Y-%m-%d %H:%M:%S} UTC", ""]
    lines += [f"{kind:<10} {count:>7}  {KINDS[kind]}" for kind, count in done.counts.items()]
    if findings:
        lines += ["", *(f"{each.kind:<10} {each.key}" for each in findings)]
    if about.findings > len(findings):
        lines.append(f"… and {about.findings - len(findings)} more")
    return "\n".join(lines) + "\n"
