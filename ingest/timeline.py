"""The time line of a job: when each photo was accepted, claimed and ended, as the ledger knows it."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from litestar import Response, get
from litestar.handlers import BaseRouteHandler

from ebbmark.ledger import Times
from ingest import pages, schemas
from ingest.answers import JOB, problems, told
from ingest.problems import wants_page
from ingest.services import TEXT_PAGE, AnyRequest, Services
from ingest.stream import Sight
from observability import tracing


@get(
    "/jobs/{public_id:str}/timeline",
    summary="When each photo came, was taken up and ended",
    responses={200: told(schemas.Timeline, "The time line"), **problems(*JOB)},
    tags=["jobs"],
)
async def read_timeline(request: AnyRequest, services: Services, public_id: str) -> Response[bytes]:
    """Answer with JSON, or with the page when a browser asks.

    An operator who collects traces finds a photo's by its `trace_id`.
    """
    sight = await services.watch.look(public_id)
    times = await services.ledger.times(sight.snapshot.job.id)
    body = msgspec.json.encode(_timeline(public_id, sight, times))
    headers = {"vary": "accept", "cache-control": "private, no-store", "x-robots-tag": "noindex"}
    if wants_page(request):
        headers["content-security-policy"] = pages.CSP
        page = pages.timeline_page(msgspec.json.decode(body, type=schemas.Timeline))
        return Response(page.encode(), media_type=TEXT_PAGE, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _timeline(public_id: str, sight: Sight, times: Sequence[Times]) -> schemas.Timeline:
    names = {row.n: row.name or "" for row in sight.snapshot.photos}
    job = sight.snapshot.job
    return schemas.Timeline(
        job_id=public_id,
        state=job.state,
        status_url=f"/jobs/{public_id}",
        server_time=job.now + timedelta(seconds=sight.age),
        photos=[
            schemas.PhotoTimes(
                n=each.n,
                name=names.get(each.n, ""),
                state=each.state,
                code=each.code,
                round=each.epoch + 1,
                attempts=each.claims,
                accepted_at=each.accepted_at,
                round_at=each.round_at,
                claimed_at=each.claimed_at,
                ended_at=each.ended_at,
                trace_id=f"{tracing.ids(job.id, each.n)[0]:032x}",
            )
            for each in times
        ],
    )


TIMELINE_ROUTES: Sequence[BaseRouteHandler] = (read_timeline,)
