"""The leader's rounds through the bucket: what is left over is deleted, and all that was wrong is told."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from ebbmark.errors import Unavailable
from ebbmark.ledger import Ledger
from ebbmark.settings import Settings
from ebbmark.store import ObjectStore
from janitor.audit import KINDS, Audit, Finding, audit
from observability import logs, metrics

log = logs.get(__name__)

_AGAIN = 60.0
_NAMED = 20


class Rounds:
    """Audits that have consequences."""

    def __init__(self, settings: Settings, ledger: Ledger, store: ObjectStore) -> None:
        """Remember nothing yet."""
        self._settings = settings
        self._ledger = ledger
        self._store = store
        self._strangers: set[UUID] = set()

    async def go_for_ever(self, leading: asyncio.Event) -> None:
        """Go at once on becoming the leader, then every ten minutes, or sooner when a server was down."""
        every = self._settings.janitor.audit.total_seconds()
        while True:
            await leading.wait()
            pause = min(every, _AGAIN)
            try:
                await self.go()
                pause = every
            except Unavailable as exc:
                log.warning("audit put off", code=exc.code)
            except Exception:
                log.exception("audit failed")
            await asyncio.sleep(pause)

    async def go(self) -> Audit:
        """Audit once, delete what is left over, and tell what was found.

        Raises:
            Unavailable: a server does not answer; the metrics tell of the audit before.
        """
        strangers: set[UUID] = set()

        async def amend(findings: Sequence[Finding]) -> None:
            _tell(findings)
            orphans = [each for each in findings if each.kind == "orphan" and each.job]
            # Their jobs' receipts tell of it, so they go the way of all deletions.
            await self._ledger.proofs.recheck(
                sorted({each.job for each in orphans if each.known and each.job})
            )
            nobodys = [each for each in orphans if not each.known]
            strangers.update(each.job for each in nobodys if each.job)
            # Only the second time: a janitor that was given another database would empty the bucket at once.
            await self._delete([each.key for each in nobodys if each.job in self._strangers])
            for each in findings:
                if each.upload is not None:
                    await self._store.abort(each.upload)

        done = await audit(self._ledger, self._store, self._settings.job, amend)
        self._strangers = strangers
        await self._ledger.proofs.audited(done.audited)
        metrics.AUDIT_TIMESTAMP.set(done.audited.started_at.timestamp())
        metrics.AUDIT_OBJECTS.set(done.audited.objects)
        metrics.AUDIT_BYTES.set(done.audited.bytes)
        for kind, count in done.counts.items():
            metrics.AUDIT_FINDINGS.labels(kind).set(count)
        log.info("audited", objects=done.audited.objects, findings=done.audited.findings)
        return done

    async def _delete(self, keys: Sequence[str]) -> None:
        if keys:
            await self._store.delete(keys)
            metrics.OBJECTS_DELETED.inc(len(keys))


def _tell(findings: Sequence[Finding]) -> None:
    jobs = sorted({str(each.job) for each in findings if each.job})
    counts = {kind: sum(each.kind == kind for each in findings) for kind in KINDS}
    found = {kind: count for kind, count in counts.items() if count}
    log.warning("audit findings", **found, jobs=jobs[:_NAMED], more_jobs=len(jobs[_NAMED:]))
