"""The bucket is compared with the ledger, whole, in one listing and a few questions for each page of it.

The two are never read at one moment, so what looks wrong is looked at again: first at the bucket, then
at the ledger. A row is written before the first object of its job and a result before its photo is done,
so what is still wrong then is wrong.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from ebbmark.ledger import Ledger
from ebbmark.ledger.proofs import Audited, Expected, Fate
from ebbmark.settings import Job as Times
from ebbmark.store import ObjectStore, Stored, Unfinished, job_of, job_prefix, original_key, result_key

Kind = Literal["orphan", "overdue", "missing", "unfinished", "foreign"]

KINDS: Mapping[Kind, str] = {
    "orphan": "objects of a job that is unknown, or was seen empty twice",
    "overdue": "objects of a job that should have been deleted ten minutes ago",
    "missing": "originals to be rendered or results to be downloaded that are not there",
    "unfinished": "uploads in parts, begun longer ago than an upload may take",
    "foreign": "objects under keys that nobody here makes",
}
"""What an audit finds, in words."""

_MARGIN = timedelta(minutes=10)
_AT_ONCE = 1000
_FIRST = (UUID(int=0), -1)
_LAST = UUID(int=2**128 - 1)


class Finding(Struct, frozen=True, kw_only=True):
    """One object, or unfinished upload, that is not as the ledger says; `job` is None when nobody owns it."""

    kind: Kind
    key: str
    job: UUID | None = None
    known: bool = False
    """Whether the job has a row."""
    upload: Unfinished | None = None


class Audit(Struct, frozen=True, kw_only=True):
    """How an audit that came to its end went."""

    audited: Audited
    counts: Mapping[Kind, int]


Act = Callable[[Sequence[Finding]], Awaitable[None]]


async def audit(ledger: Ledger, store: ObjectStore, times: Times, act: Act) -> Audit:
    """Compare everything; `act` gets the findings as they come, so that none has to be kept.

    Holds a page of the listing and the objects of one job, however many there are.

    Raises:
        Unavailable: a server does not answer; what `act` has got by then is true all the same.
    """
    comparison = _Comparison(ledger, store, times)
    counts: Counter[Kind] = Counter()
    started_at = await ledger.proofs.clock()
    objects = size = 0

    async def tell(findings: Sequence[Finding]) -> None:
        counts.update(each.kind for each in findings)
        if findings:
            await act(findings)

    held: dict[UUID, list[Stored]] = {}
    async for page in store.listing(""):
        objects += len(page)
        size += sum(each.size for each in page)
        await tell([Finding(kind="foreign", key=each.key) for each in page if job_of(each.key) is None])
        for each in page:
            if (job := job_of(each.key)) is not None:
                held.setdefault(job, []).append(each)
        whole = list(held)[:-1]  # of the last one there may be more to come
        if whole:
            await tell(await comparison.compare({job: held.pop(job) for job in whole}, until=whole[-1]))
    await tell(await comparison.compare(held, until=_LAST))
    await tell(
        [
            Finding(kind="unfinished", key=each.key, job=job_of(each.key), upload=each)
            for each in await store.unfinished("")
            if each.started < started_at - times.upload_deadline
        ]
    )
    return Audit(
        audited=Audited(started_at=started_at, objects=objects, bytes=size, findings=counts.total()),
        counts={kind: counts[kind] for kind in KINDS},
    )


class _Comparison:
    """Goes through jobs in the order of their ids, which is the order of the keys."""

    def __init__(self, ledger: Ledger, store: ObjectStore, times: Times) -> None:
        self._proofs = ledger.proofs
        self._store = store
        self._times = times
        self._after = _FIRST

    async def compare(self, listed: Mapping[UUID, Sequence[Stored]], *, until: UUID) -> list[Finding]:
        """Return what is wrong with these objects, and which are lacking up to the job `until`."""
        fates = await self._fates(listed)
        suspects = {
            job: [Finding(kind=kind, key=each.key, job=job) for each in objects]
            for job, objects in listed.items()
            if (kind := _kind(fates.get(job))) is not None
        }
        keys = {each.key for objects in listed.values() for each in objects}
        while page := await self._proofs.expected(after=self._after, until=until, limit=_AT_ONCE):
            for each in page:
                if _key(each) not in keys:
                    lacking = Finding(kind="missing", key=_key(each), job=each.job)
                    suspects.setdefault(each.job, []).append(lacking)
            self._after = (page[-1].job, page[-1].n)
        return [each for job, some in suspects.items() for each in await self._confirmed(job, some)]

    async def _confirmed(self, job: UUID, suspects: Sequence[Finding]) -> list[Finding]:
        there = set(await self._store.keys(job_prefix(job)))
        fate = (await self._fates([job])).get(job)
        wanted = await self._proofs.expected(after=(job, -1), until=job, limit=2**31 - 1)
        lacking = {_key(each) for each in wanted} - there
        kind = _kind(fate)
        return [
            msgspec.structs.replace(
                each, kind="missing" if each.key in lacking else kind, known=fate is not None
            )
            for each in suspects
            if each.key in lacking or (kind is not None and each.key in there)
        ]

    async def _fates(self, jobs: Iterable[UUID]) -> Mapping[UUID, Fate]:
        return await self._proofs.fates(
            list(jobs),
            ttl=self._times.ttl,
            grace=self._times.grace,
            quiet=self._times.quiet,
            margin=_MARGIN,
        )


def _kind(fate: Fate | None) -> Kind | None:
    if fate is None or fate.verified:
        return "orphan"
    return "overdue" if fate.overdue else None


def _key(photo: Expected) -> str:
    if photo.done:
        return result_key(photo.job, photo.epoch, photo.n)
    return original_key(photo.job, photo.n, photo.sha256)
