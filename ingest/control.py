"""What its owner may still do with a job that is sealed: retry what failed, cancel what waits."""

from collections.abc import Sequence

import msgspec
from litestar import Response, get, post
from litestar.handlers import BaseRouteHandler
from litestar.response import Redirect

from ebbmark.imaging.operation import operations_schema
from ingest import pages, schemas
from ingest.again import read_again
from ingest.answers import JOB, PAGE, problems, told
from ingest.apidocs import RetryOperation
from ingest.problems import wants_page
from ingest.remedies import REMEDIES
from ingest.services import (
    TEXT_PAGE,
    AnyRequest,
    Services,
    client_of,
    known_place,
    same_site_only,
)

_STATUS = {202: told(schemas.Job, "The job as it is now"), 303: PAGE}


@post(
    "/jobs/{public_id:str}/retry",
    status_code=202,
    guards=[same_site_only],
    request_max_body_size=None,
    summary="Retry failed photos",
    operation_class=RetryOperation,
    responses={**_STATUS, **problems(*JOB, 403, 408, 409, 413, 415, 422)},
    tags=["jobs"],
)
async def retry_photos(request: AnyRequest, services: Services, public_id: str) -> Response[bytes] | Redirect:
    """Begin a new round for failed photos, with other options if they are given; the hour begins anew, too.

    Without numbers those are retried that are `retryable` and were not cancelled. What is done stays as
    it is. Repeating it is harmless.
    """
    job = (await services.watch.look(public_id)).snapshot.job
    page = wants_page(request)
    async with services.taking_in(request, services.settings.job.upload_deadline) as body:
        services.jobs.spend(client_of(request))
        again = await read_again(request, body, services, job, whole_form=page)
    await services.door.retry(job.id, again)
    services.watch.changed(job.id)
    return await _seen(services, public_id, page=page)


@get("/jobs/{public_id:str}/retry", include_in_schema=False)
async def retry_page(services: Services, public_id: str) -> Response[bytes]:
    """Show the options again, as they were chosen, for the photos that failed with them."""
    sight = await services.watch.look(public_id)
    job = sight.snapshot.job
    body = pages.retry_page(
        operations_schema(),
        msgspec.json.decode(sight.json()),
        recipe=job.recipe,
        has_logo=job.logo_sha256 is not None,
    )
    headers = {
        "content-security-policy": pages.CSP,
        "cache-control": "no-store",
        "x-robots-tag": "noindex",
    }
    return Response(body.encode(), media_type=TEXT_PAGE, headers=headers)


@post(
    "/jobs/{public_id:str}/cancel",
    status_code=202,
    guards=[same_site_only],
    summary="Cancel what has not ended",
    responses={**_STATUS, **problems(*JOB, 403)},
    tags=["jobs"],
)
async def cancel_job(request: AnyRequest, services: Services, public_id: str) -> Response[bytes] | Redirect:
    """Fail every photo that is neither done nor failed, with the code `cancelled`; what is done stays."""
    job = (await services.watch.look(public_id)).snapshot.job
    await services.door.cancel(job.id)
    services.watch.changed(job.id)
    return await _seen(services, public_id, page=wants_page(request))


@post(
    "/jobs/{public_id:str}/photos/{n:str}/cancel",
    status_code=202,
    guards=[same_site_only],
    summary="Cancel one photo",
    responses={**_STATUS, **problems(*JOB, 403, 409)},
    tags=["jobs"],
)
async def cancel_photo(
    request: AnyRequest, services: Services, public_id: str, n: str
) -> Response[bytes] | Redirect:
    """Fail the photo with the code `cancelled`, also while it is being rendered. Repeating it is harmless."""
    job = (await services.watch.look(public_id)).snapshot.job
    await services.door.cancel(job.id, known_place(n))
    services.watch.changed(job.id)
    return await _seen(services, public_id, page=wants_page(request))


async def _seen(services: Services, public_id: str, *, page: bool) -> Response[bytes] | Redirect:
    if page:
        return Redirect(f"/jobs/{public_id}", status_code=303)
    sight = await services.watch.look(public_id)
    return Response(
        sight.json(),
        status_code=202,
        media_type="application/json",
        headers={"location": f"/jobs/{public_id}", "retry-after": "1", "cache-control": "private, no-cache"},
    )


@get(
    "/problems",
    summary="What can be done about failed photos",
    responses=problems(),
    tags=["operations"],
)
async def list_remedies() -> list[schemas.Remedy]:
    """List every code that a failed photo may have, with its fix; plugins may have others."""
    return [
        schemas.Remedy(code=code, meaning=each.meaning, fix=each.fix, retryable=each.retryable)
        for code, each in REMEDIES.items()
    ]


CONTROL_ROUTES: Sequence[BaseRouteHandler] = (
    retry_photos,
    retry_page,
    cancel_job,
    cancel_photo,
    list_remedies,
)
