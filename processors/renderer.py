"""Renders a photo: claim → fetch → render in a child → store → report. Each step may be repeated.

While a photo is in hand its lease is renewed, so a lease may be short: it ends soon after its worker
does, and never under a photo that waits for a child.
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Protocol
from uuid import UUID, uuid4

from msgspec.structs import asdict

from ebbmark.errors import Rejected, Unavailable
from ebbmark.eventlog import EventLog
from ebbmark.events import PhotoFailed, PhotoRendered, RenderPhoto
from ebbmark.guard import Braked, patiently
from ebbmark.imaging.facts import facts_of
from ebbmark.imaging.render import Rendered
from ebbmark.ledger import Claim, Ledger, Wanted
from ebbmark.pool import ChildLost, PoolLost
from ebbmark.settings import Worker
from ebbmark.store import Described, ObjectStore, logo_key, original_key, result_key
from ebbmark.topics import BULK, EXPRESS, STATUSES, lane
from observability import logs, metrics, tracing
from processors.coalesce import Coalesced

log = logs.get(__name__)

_LANES = {EXPRESS: "express", BULK: "bulk"}
_SMALL, _MEDIUM = 2_000_000, 8_000_000
"""Pixels: what a page shows, and what an older camera takes."""
_LOGOS = 8
_INFRASTRUCTURE_WAIT = timedelta(seconds=5)
_RENEWALS_A_LEASE = 3
_LAST_WORD = 3.0
"""Seconds to give a photo back when this worker ends; if that fails its lease runs out."""


class Renders(Protocol):
    """Where photos are decoded; `RenderPool` in a worker."""

    async def render(
        self, original: bytes, recipe: bytes, logo: bytes | None, facts: Mapping[str, str]
    ) -> Rendered: ...


class Renderer:
    """Handles the orders of both lanes."""

    def __init__(
        self, ledger: Ledger, store: ObjectStore, log: EventLog, pool: Renders, settings: Worker
    ) -> None:
        """Claims are asked for together, whatever lane they come from."""
        self._ledger = ledger
        self._store = store
        self._log = log
        self._pool = pool
        self._settings = settings
        self._claimant = uuid4()
        self._held: dict[tuple[UUID, int, int], Claim] = {}
        self._claim: Coalesced[Wanted, Claim] = Coalesced(self._claim_all, leftover=self._give_back)
        self._logos: OrderedDict[tuple[UUID, bytes], bytes] = OrderedDict()

    async def keep_leases(self) -> None:
        """Renew the leases of what is in hand, for ever."""
        lease = self._settings.lease
        while True:
            await asyncio.sleep(lease.total_seconds() / _RENEWALS_A_LEASE)
            if held := list(self._held.values()):
                try:
                    await self._ledger.renew(held, lease=lease)
                except Unavailable as exc:
                    log.warning("leases not renewed", photos=len(held), code=exc.code)
                except Exception:  # whatever it was, without renewals every photo in hand would get a strike
                    log.exception("leases not renewed", photos=len(held))

    async def handle(self, order: RenderPhoto) -> None:
        """Return when the outcome is in the log, or the photo is back with the ledger, or not ours.

        What nobody foresaw is raised with the claim kept, so that the next try has it.

        Raises:
            Braked: no photo can be rendered in this process any more.
        """
        with tracing.span("attempt", order.job, order.n, epoch=order.epoch):
            await self._attempt(order)

    async def _attempt(self, order: RenderPhoto) -> None:
        place = (order.job, order.n, order.epoch)
        claim = None if place in self._held else await self._claimed(order)
        if claim is None or place in self._held:
            metrics.CLAIMS_REFUSED.inc()
            tracing.set_attributes(outcome="refused")
            return
        tracing.set_attributes(fence=claim.fence, strikes=claim.strikes)
        self._held[place] = claim
        try:
            await self._deal_with(claim)
        finally:
            del self._held[place]

    async def _claimed(self, order: RenderPhoto) -> Claim | None:
        with _stage("claim"):
            claim = await self._claim(Wanted(job=order.job, n=order.n, epoch=order.epoch))
        if claim is not None and (claim.fence, claim.epoch) == (1, 0):
            metrics.QUEUE_SECONDS.labels(_LANES[lane(order.n)]).observe(
                claim.waited.total_seconds(), tracing.exemplar()
            )
        return claim

    async def _deal_with(self, claim: Claim) -> None:
        try:
            await self._report(claim, await self._render(claim))
        except ChildLost as exc:
            tracing.failed(f"child-lost-{exc.reason}")
            log.warning("child lost", job=str(claim.job), n=claim.n, reason=exc.reason, strikes=claim.strikes)
            metrics.PHOTOS_RELEASED.labels("child").inc()
            await self._release(claim, strikes=1, wait=timedelta(seconds=2**claim.strikes))
        except Unavailable as exc:
            tracing.failed(exc.code)
            log.warning("photo released", job=str(claim.job), n=claim.n, code=exc.code)
            metrics.PHOTOS_RELEASED.labels("dependency").inc()
            await self._release(claim, strikes=-1, wait=_INFRASTRUCTURE_WAIT)
        except PoolLost as exc:
            await self._give_back(claim)
            raise Braked("no rendering child can be started") from exc
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(claim))
            raise

    async def _render(self, claim: Claim) -> PhotoRendered | PhotoFailed:
        began = time.monotonic()
        with _stage("fetch"):
            original = await self._store.get(original_key(claim.job, claim.n, claim.sha256))
            logo = await self._logo(claim)
        try:
            facts = facts_of(claim.name, claim.n, claim.total, claim.sent_on)
            with _stage("render"):
                rendered = await self._pool.render(original, claim.recipe, logo, facts)
                tracing.steps(rendered.began, rendered.steps)
        except Rejected as exc:
            metrics.PHOTOS_FAILED.labels(exc.code).inc()
            if exc.code == "operation-failed":
                log.warning("operation failed", job=str(claim.job), n=claim.n, detail=exc.detail)
            tracing.set_attributes(outcome="failed", code=exc.code)
            return PhotoFailed(
                job=claim.job,
                n=claim.n,
                epoch=claim.epoch,
                fence=claim.fence,
                code=exc.code,
                detail=exc.detail,
            )
        with _stage("store"):
            kept = await self._store.put_new(
                result_key(claim.job, claim.epoch, claim.n),
                rendered.data + rendered.thumbnail,
                _describe(rendered),
            )
        _count(rendered, len(original))
        if claim.epoch == 0:  # a later round began when its owner asked for it, which no row says
            took = claim.waited.total_seconds() + time.monotonic() - began
            metrics.PHOTO_SECONDS.labels(_size(rendered.pixels)).observe(took, tracing.exemplar())
        tracing.set_attributes(outcome="rendered")
        # An earlier attempt may have stored other bytes (another version of a library): its
        # description counts, not ours.
        return PhotoRendered(
            job=claim.job,
            n=claim.n,
            epoch=claim.epoch,
            fence=claim.fence,
            **asdict(Described.read(kept)),
        )

    async def _report(self, claim: Claim, status: PhotoRendered | PhotoFailed) -> None:
        with _stage("report"):
            await patiently(lambda: self._log.publish(STATUSES, [status]), STATUSES.name)
        # Of what is done the result is there whatever becomes of its status, so its strikes do not matter.
        if isinstance(status, PhotoFailed):
            lease = self._settings.lease
            await patiently(lambda: self._ledger.reported(claim, lease=lease), "report")

    async def _claim_all(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Claim]:
        claims = await self._ledger.claim(
            wanted,
            claimant=self._claimant,
            lease=self._settings.lease,
            strikes=self._settings.strikes,
        )
        return {Wanted(job=claim.job, n=claim.n, epoch=claim.epoch): claim for claim in claims}

    async def _logo(self, claim: Claim) -> bytes | None:
        if claim.logo_sha256 is None:
            return None
        place = (claim.job, claim.logo_sha256)
        if place not in self._logos:
            self._logos[place] = await self._store.get(logo_key(*place))
            while len(self._logos) > _LOGOS:
                self._logos.popitem(last=False)
        return self._logos[place]

    async def _release(self, claim: Claim, *, strikes: int, wait: timedelta) -> None:
        spread = wait * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, guards no secret
        await patiently(lambda: self._ledger.release(claim, strikes=strikes, retry_after=spread), "release")

    async def _give_back(self, claim: Claim) -> None:
        """Nothing speaks against the photo: it costs no strike, and goes to whoever is next."""
        metrics.PHOTOS_RELEASED.labels("stop").inc()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD):
                await self._release(claim, strikes=-1, wait=timedelta(0))


def _stage(name: str) -> tracing.stage:
    return tracing.stage(name, metrics.STAGE_SECONDS.labels(name).observe)


def _count(rendered: Rendered, original: int) -> None:
    metrics.PHOTOS_RENDERED.inc()
    metrics.BYTES.labels("in").inc(original)
    metrics.BYTES.labels("out").inc(len(rendered.data))
    metrics.PIXELS.labels("in").inc(rendered.pixels)
    metrics.PIXELS.labels("out").inc(rendered.width * rendered.height)
    for step, seconds in rendered.steps:
        metrics.STEP_SECONDS.labels(step).observe(seconds, tracing.exemplar())


def _size(pixels: int) -> str:
    return "small" if pixels <= _SMALL else "medium" if pixels <= _MEDIUM else "large"


def _describe(rendered: Rendered) -> dict[str, str]:
    return Described(
        width=rendered.width,
        height=rendered.height,
        size=len(rendered.data),
        thumbnail_size=len(rendered.thumbnail),
        media_type=rendered.media_type,
        removed=", ".join(rendered.removed),
    ).metadata()
