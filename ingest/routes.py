"""What is done to a job: opened, filled, sealed, deleted. Each handler asks the door, and answers."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import unquote

import msgspec
from litestar import Response, delete, post, put
from litestar.handlers import BaseRouteHandler
from litestar.params import HeaderParameter
from litestar.response import Redirect

from ebbmark.errors import Conflict, LimitExceeded, Rejected
from ebbmark.ledger import JobRow
from ebbmark.states import JobState
from ebbmark.webhooks import Rules, show_secret
from ingest import schemas
from ingest.answers import JOB, PAGE, problems, told
from ingest.apidocs import FormOperation, PhotoOperation, SealOperation
from ingest.intake import Intake, recipe_of
from ingest.problems import wants_page
from ingest.reading import READING_ROUTES
from ingest.services import (
    AnyRequest,
    Services,
    client_of,
    place_of,
    same_site_only,
)
from ingest.stream import Expired, Unknown
from ingest.tokens import token_hash
from ingest.uploads import Patience, Spool, read_form, small_body
from ingest.webhooks import wish_of


@post(
    ["/jobs", "/upload"],
    status_code=202,
    guards=[same_site_only],
    request_max_body_size=None,
    summary="Send photos, or open a job to send them to",
    operation_class=FormOperation,
    responses={
        202: told(schemas.Accepted, "The job is accepted"),
        303: PAGE,
        **problems(400, 403, 408, 409, 413, 415, 422),
    },
    tags=["jobs"],
)
async def create_job(
    request: AnyRequest,
    services: Services,
    idempotency_key: Annotated[str | None, HeaderParameter(name="Idempotency-Key")] = None,
) -> Response[schemas.Accepted] | Redirect:
    """Accept a form of photos and operations as one job.

    Without photos the job stays open: `PUT` them one by one, each is rendered as it arrives, then `seal`.
    """
    intake = Intake(services.door, idempotency_key)
    page = wants_page(request)
    async with services.taking_in(request, services.settings.job.upload_deadline, new_job=True) as body:
        services.jobs.spend(client_of(request))
        try:
            fields = await read_form(request, body, services.settings, intake.on_file)
            recipe = recipe_of(fields, services.presets, has_logo=intake.logo is not None, whole_form=page)
            wish = wish_of(fields, Rules.of(services.settings.webhook))
            fill_later = not intake.photos and not page
            opened = await intake.accept(recipe, fill_later=fill_later, wish=wish)
        except BaseException:
            await intake.abandon()
            raise
    services.backlog.brought(client_of(request), len(intake.photos))
    if page:
        return Redirect(f"/jobs/{opened.public_id}", status_code=303)
    accepted = schemas.accepted(opened.public_id, opened.job.state, opened.job.total)
    if wish and opened.webhook:
        accepted = msgspec.structs.replace(
            accepted,
            webhook_job=opened.job.id,
            webhook_secret=None if wish.secret else show_secret(opened.webhook.secret),
        )
    return Response(
        accepted,
        status_code=202,
        headers={"location": f"/jobs/{opened.public_id}", "retry-after": "1"},
    )


async def _living_job(services: Services, public_id: str) -> JobRow:
    row = await services.ledger.find_job(token_hash(public_id))
    if row is None:
        raise Unknown
    if not row.live:
        raise Expired
    return row


@put(
    "/jobs/{public_id:str}/photos/{n:str}",
    status_code=201,
    guards=[same_site_only],
    request_max_body_size=None,
    summary="Send one photo to an open job",
    operation_class=PhotoOperation,
    responses={
        201: told(schemas.Received, "The photo is accepted"),
        **problems(*JOB, 403, 408, 409, 413, 415, 422),
    },
    tags=["jobs"],
)
async def put_photo(
    request: AnyRequest,
    services: Services,
    public_id: str,
    n: str,
    file_name: Annotated[
        str,
        HeaderParameter(name="X-Filename", description="The file's name, UTF-8, percent-encoded", default=""),
    ],
) -> schemas.Received:
    """Accept the body as photo `n`; rendering starts at once. Sending the same again is harmless."""
    settings = services.settings
    place = place_of(n)
    if place is None:
        raise Rejected("invalid-number", "A photo's number is a plain decimal number from 0.")
    if place >= settings.job.files:
        raise LimitExceeded(
            "too-many-files", f"A job may hold {settings.job.files} photos; send the rest as another."
        )
    job = await _living_job(services, public_id)
    if job.state is not JobState.OPEN:
        raise Conflict("job-sealed", "This job takes no more photos.")
    async with services.taking_in(request, job.created_at + settings.job.upload_deadline - job.now) as body:
        with Spool(settings.http.spool, settings.photo.bytes) as spool:
            async for chunk in body:
                spool.write(chunk)
            row = await services.door.put(job.id, place, unquote(file_name), spool)
    services.backlog.brought(client_of(request), 1)
    return schemas.Received(n=place, name=row.name or "", state=row.state, bytes=row.size)


@post(
    "/jobs/{public_id:str}/seal",
    status_code=202,
    guards=[same_site_only],
    summary="Say that all photos are there",
    operation_class=SealOperation,
    request_max_body_size=None,
    responses={
        202: told(schemas.Accepted, "The job takes no more photos"),
        **problems(*JOB, 403, 408, 409, 413, 422),
    },
    tags=["jobs"],
)
async def seal_job(request: AnyRequest, services: Services, public_id: str) -> Response[schemas.Accepted]:
    """Close the job to further photos; repeating it is harmless."""
    http = services.settings.http
    patience = Patience(http.chunk_timeout, services.settings.job.upload_deadline, http.upload_rate)
    body = await small_body(request, patience)
    try:
        total = msgspec.json.decode(body, type=schemas.Seal).total
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Rejected("invalid-seal", f'A seal is JSON such as {{"total": 12}}. {exc}.') from exc
    sealed = await services.door.seal(await _living_job(services, public_id), total)
    return Response(
        schemas.accepted(public_id, sealed.state, sealed.total),
        status_code=202,
        headers={"location": f"/jobs/{public_id}", "retry-after": "1"},
    )


@delete(
    "/jobs/{public_id:str}",
    status_code=204,
    guards=[same_site_only],
    summary="Delete it all now",
    responses=problems(*JOB, 403),
    tags=["jobs"],
)
async def delete_job(services: Services, public_id: str) -> None:
    """Kill the links at once; the bytes follow within seconds."""
    sight = await services.watch.look(public_id)
    await services.door.delete(sight.snapshot.job.id)
    services.watch.changed(sight.snapshot.job.id)


@post("/jobs/{public_id:str}/delete", status_code=303, guards=[same_site_only], include_in_schema=False)
async def delete_job_by_form(services: Services, public_id: str) -> Redirect:
    """Do the same for a page without scripts."""
    sight = await services.watch.look(public_id)
    await services.door.delete(sight.snapshot.job.id)
    services.watch.changed(sight.snapshot.job.id)
    return Redirect(f"/jobs/{public_id}", status_code=303)


JOB_ROUTES: Sequence[BaseRouteHandler] = (
    create_job,
    put_photo,
    seal_job,
    *READING_ROUTES,
    delete_job,
    delete_job_by_form,
)
