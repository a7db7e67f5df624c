"""Renders a photo: claim → fetch → render in a child → store → report. Each step may be repeated."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import PurePath
from typing import Protocol
from uuid import UUID

from ebbmark.errors import Rejected, Unavailable
from ebbmark.eventlog import EventLog
from ebbmark.events import PhotoFailed, PhotoRendered, RenderPhoto
from ebbmark.guard import patiently
from ebbmark.imaging.render import Rendered
from ebbmark.ledger import Claim, Ledger, Wanted
from ebbmark.settings import Worker
from ebbmark.store import ObjectStore, logo_key, original_key, result_key
from ebbmark.topics import STATUSES
from observability import logs, metrics
from processors.coalesce import Coalesced
from processors.pool import ChildLost

log = logs.get(__name__)

_LOGOS = 8
_INFRASTRUCTURE_WAIT = timedelta(seconds=5)


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
        self._claim: Coalesced[Wanted, Claim] = Coalesced(self._claim_all)
        self._logos: OrderedDict[tuple[UUID, bytes], bytes] = OrderedDict()

    async def handle(self, order: RenderPhoto) -> None:
        """Return when the outcome is in the log, or the photo is back with the ledger, or not ours."""
        with metrics.STAGE_SECONDS.labels("claim").time():
            claim = await self._claim(Wanted(job=order.job, n=order.n, epoch=order.epoch))
        if claim is None:
            metrics.CLAIMS_REFUSED.inc()
            return
        try:
            status = await self._render(claim)
        except ChildLost as exc:
            log.warning("child lost", job=str(claim.job), n=claim.n, reason=exc.reason, strikes=claim.strikes)
            await self._release(claim, strikes=1, wait=timedelta(seconds=2**claim.strikes))
        except Unavailable as exc:
            log.warning("photo released", job=str(claim.job), n=claim.n, code=exc.code)
            await self._release(claim, strikes=-1, wait=_INFRASTRUCTURE_WAIT)
        except asyncio.CancelledError:
            await asyncio.shield(self._release(claim, strikes=-1, wait=timedelta(0)))
            raise
        else:
            with metrics.STAGE_SECONDS.labels("report").time():
                await patiently(lambda: self._log.publish(STATUSES, [status]), STATUSES.name)

    async def _render(self, claim: Claim) -> PhotoRendered | PhotoFailed:
        with metrics.STAGE_SECONDS.labels("fetch").time():
            original = await self._store.get(original_key(claim.job, claim.n, claim.sha256))
            logo = await self._logo(claim)
        try:
            with metrics.STAGE_SECONDS.labels("render").time():
                rendered = await self._pool.render(original, claim.recipe, logo, _facts(claim))
        except Rejected as exc:
            metrics.PHOTOS_FAILED.labels(exc.code).inc()
            return PhotoFailed(
                job=claim.job,
                n=claim.n,
                epoch=claim.epoch,
                fence=claim.fence,
                code=exc.code,
                detail=exc.detail,
            )
        with metrics.STAGE_SECONDS.labels("store").time():
            kept = await self._store.put_new(
                result_key(claim.job, claim.epoch, claim.n),
                rendered.data + rendered.thumbnail,
                _describe(rendered),
            )
        metrics.PHOTOS_RENDERED.inc()
        # An earlier attempt may have stored other bytes (another version of a library): its
        # description counts, not ours.
        return PhotoRendered(
            job=claim.job,
            n=claim.n,
            epoch=claim.epoch,
            fence=claim.fence,
            width=int(kept["ebb-width"]),
            height=int(kept["ebb-height"]),
            size=int(kept["ebb-size"]),
            thumbnail_size=int(kept["ebb-thumbnail"]),
            media_type=kept["ebb-type"],
        )

    async def _claim_all(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Claim]:
        claims = await self._ledger.claim(wanted, lease=self._settings.lease, strikes=self._settings.strikes)
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


def _facts(claim: Claim) -> dict[str, str]:
    return {"filename": PurePath(claim.name).stem, "n": str(claim.n + 1)}


def _describe(rendered: Rendered) -> dict[str, str]:
    return {
        "ebb-width": str(rendered.width),
        "ebb-height": str(rendered.height),
        "ebb-size": str(len(rendered.data)),
        "ebb-thumbnail": str(len(rendered.thumbnail)),
        "ebb-type": rendered.media_type,
    }
