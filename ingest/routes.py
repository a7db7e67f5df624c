"""The HTTP interface: each handler reads its request, asks the door or the watch, and answers."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Annotated
from urllib.parse import unquote

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter
from litestar.response import Redirect, ServerSentEvent
from litestar.response.base import ASGIResponse

from ebbmark.errors import Conflict, LimitExceeded, Rejected
from ebbmark.imaging.operation import operations_schema
from ebbmark.ledger import JobRow, Ledger
from ebbmark.settings import Settings
from ebbmark.states import JobState
from ebbmark.store import ObjectStore
from ebbmark.webhooks import Rules, show_secret
from ingest import downloads, pages, schemas
from ingest.apidocs import FormOperation, PhotoOperation
from ingest.conditions import is_known, is_the_same, parse_range
from ingest.downloads import Download
from ingest.intake import Intake, recipe_of
from ingest.jobs import Door, require_one_good
from ingest.problems import wants_page
from ingest.sending import Places, Sending, begun
from ingest.stream import Expired, Unknown, Watch, parse_last_event_id
from ingest.tokens import token_hash
from ingest.uploads import Spool, pieces, read_form
from ingest.webhooks import wish_of
from observability import metrics

AnyRequest = Request[object, object, State]

_UPLOAD_WAIT = 5.0
_TEXT_PAGE = "text/html"
_PROBLEMS = {
    404: ResponseSpec(
        schemas.Problem, description="There is no such job (any more)", media_type="application/problem+json"
    ),
    410: ResponseSpec(
        schemas.Problem, description="The job's photos were deleted", media_type="application/problem+json"
    ),
    503: ResponseSpec(
        schemas.Problem,
        description="A server is not there; try again after Retry-After",
        media_type="application/problem+json",
    ),
}
_REFUSALS = {
    code: ResponseSpec(schemas.Problem, description=text, media_type="application/problem+json")
    for code, text in {
        400: "The form is broken",
        409: "It contradicts what is there",
        413: "Too many or too large",
        415: "Not an image that we read",
        422: "An operation or a parameter is wrong",
        429: "Too many uploads at once",
    }.items()
}


class Services(msgspec.Struct, frozen=True):
    """What the handlers work with."""

    settings: Settings
    ledger: Ledger
    store: ObjectStore
    door: Door
    watch: Watch
    uploads: asyncio.Semaphore
    downloads: Places

    @asynccontextmanager
    async def upload_slot(self) -> AsyncGenerator[None]:
        """Hold one of the places for uploads under way.

        Raises:
            LimitExceeded: none was free for a while, code `too-many-uploads`.
        """
        try:
            async with asyncio.timeout(_UPLOAD_WAIT):
                await self.uploads.acquire()
        except TimeoutError as exc:
            metrics.UPLOADS_REFUSED.labels("too-many-uploads").inc()
            raise LimitExceeded(
                "too-many-uploads", "Many uploads are under way; try again in a moment."
            ) from exc
        try:
            with metrics.UPLOADS_OPEN.track_inprogress():
                yield
        finally:
            self.uploads.release()


def same_site_only(connection: ASGIConnection[object, object, object, State], _: BaseRouteHandler) -> None:
    """Refuse a write that another site's page makes a browser send, before its body is read.

    Raises:
        Rejected: code `cross-site`.
    """
    site, origin = connection.headers.get("sec-fetch-site"), connection.headers.get("origin")
    if site is not None:
        allowed = site in {"same-origin", "none"}
    else:
        allowed = origin is None or origin.partition("://")[2] == connection.headers.get("host")
    if not allowed:
        raise Rejected("cross-site", "This request was made by a page of another site.")


@post(
    ["/jobs", "/upload"],
    status_code=202,
    guards=[same_site_only],
    request_max_body_size=None,
    summary="Send photos, or open a job to send them to",
    operation_class=FormOperation,
    responses={
        202: ResponseSpec(schemas.Accepted, description="The job is accepted"),
        **_REFUSALS,
        503: _PROBLEMS[503],
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
    async with services.upload_slot():
        try:
            fields = await read_form(request, services.settings, intake.on_file)
            recipe = recipe_of(fields, has_logo=intake.logo is not None, whole_form=page)
            wish = wish_of(fields, Rules.of(services.settings.webhook))
            fill_later = not intake.photos and not page
            opened = await intake.accept(recipe, fill_later=fill_later, wish=wish)
        except BaseException:
            await intake.abandon()
            raise
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
    "/jobs/{public_id:str}/photos/{n:int}",
    status_code=201,
    guards=[same_site_only],
    request_max_body_size=None,
    summary="Send one photo to an open job",
    operation_class=PhotoOperation,
    responses={**_REFUSALS, **_PROBLEMS},
    tags=["jobs"],
)
async def put_photo(
    request: AnyRequest,
    services: Services,
    public_id: str,
    n: int,
    file_name: Annotated[
        str,
        HeaderParameter(name="X-Filename", description="The file's name, UTF-8, percent-encoded", default=""),
    ],
) -> schemas.Received:
    """Accept the body as photo `n`; rendering starts at once. Sending the same again is harmless."""
    settings = services.settings
    if n >= settings.job.files:
        raise LimitExceeded(
            "too-many-files", f"A job may hold {settings.job.files} photos; send the rest as another."
        )
    async with services.upload_slot():
        job = await _living_job(services, public_id)
        if job.state is not JobState.OPEN:
            raise Conflict("job-sealed", "This job takes no more photos.")
        with Spool(settings.http.spool, settings.photo.bytes) as spool:
            async for chunk in pieces(request, settings.http.chunk_timeout):
                spool.write(chunk)
            if job.bytes + spool.size > settings.job.bytes:
                raise LimitExceeded(
                    "job-too-large", f"A job may hold {settings.job.bytes // 1024**2} MiB in all."
                )
            photo = await services.door.keep_original(job.id, n, unquote(file_name), spool)
    (row,) = await services.door.add(job, [photo])
    require_one_good([photo])
    return schemas.Received(n=n, name=row.name or "", state=row.state, bytes=row.size)


@post(
    "/jobs/{public_id:str}/seal",
    status_code=202,
    guards=[same_site_only],
    summary="Say that all photos are there",
    responses={**_REFUSALS, **_PROBLEMS},
    tags=["jobs"],
)
async def seal_job(services: Services, public_id: str, data: schemas.Seal) -> Response[schemas.Accepted]:
    """Close the job to further photos; repeating it is harmless."""
    sealed = await services.door.seal(await _living_job(services, public_id), data.total)
    return Response(
        schemas.accepted(public_id, sealed.state, sealed.total),
        status_code=202,
        headers={"location": f"/jobs/{public_id}", "retry-after": "1"},
    )


@get(
    ["/jobs/{public_id:str}", "/status/{public_id:str}"],
    summary="The job and its photos",
    responses={200: ResponseSpec(schemas.Job, description="The job"), **_PROBLEMS},
    tags=["jobs"],
)
async def read_job(request: AnyRequest, services: Services, public_id: str) -> Response[bytes]:
    """Answer with JSON, or with the page when a browser asks. The ETag changes with every state."""
    sight = await services.watch.look(public_id)
    page = wants_page(request) and request.url.path.startswith("/jobs/")
    headers = {"vary": "accept", "cache-control": "private, no-cache", "x-robots-tag": "noindex"}
    if page:
        headers["content-security-policy"] = pages.CSP
        headers["cache-control"] = "no-store"
        body = pages.job_page(msgspec.json.decode(sight.json()))
        return Response(body.encode(), media_type=_TEXT_PAGE, headers=headers)
    headers["etag"] = sight.etag
    if is_known(request.headers.get("if-none-match"), sight.etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(sight.json(), media_type="application/json", headers=headers)


@get(
    "/jobs/{public_id:str}/events",
    summary="The job's snapshots as they change",
    responses=_PROBLEMS,
    tags=["jobs"],
)
async def watch_job(
    services: Services,
    public_id: str,
    last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID")] = None,
) -> ServerSentEvent:
    """Stream `snapshot` events, each the whole job with its version as id, and `end` at the end.

    A version comes again when photos of it are taken up for rendering.
    """
    await services.watch.look(public_id)
    return ServerSentEvent(
        services.watch.events(public_id, parse_last_event_id(last_event_id)),
        headers={"Cache-Control": "no-store"},  # spelt as the class spells it, or it would be there twice
    )


async def _send(request: AnyRequest, services: Services, download: Download) -> ASGIResponse:
    headers = {**download.headers, "cache-control": "private, no-cache"}
    asked, etag = request.headers, headers.get("etag", "")
    if etag and is_known(asked.get("if-none-match"), etag):
        return ASGIResponse(status_code=304, headers={"etag": etag})
    part = None
    if "accept-ranges" in headers and is_the_same(asked.get("if-range"), etag):
        part = parse_range(asked.get("range"), download.size)
    start, end = part or (0, download.size)
    if part:
        headers["content-range"] = f"bytes {start}-{end - 1}/{download.size}"
    headers["content-length"] = str(end - start)
    async with AsyncExitStack() as held:
        if download.large:
            held.enter_context(services.downloads.one())
        body = await held.enter_async_context(aclosing(download.open(start, end)))
        return Sending(
            await begun(body),
            held.pop_all(),
            status=206 if part else 200,
            media_type=download.media_type,
            headers=headers,
            seconds=download.seconds,
            patience=services.settings.http.chunk_timeout.total_seconds(),
        )


def _grace(services: Services) -> float:
    return services.settings.job.grace.total_seconds()


_BYTES = {200: ResponseSpec(bytes, description="The bytes", media_type="application/octet-stream")}


@get(
    "/jobs/{public_id:str}/photos/{n:int}",
    summary="One result",
    responses={**_BYTES, **_PROBLEMS},
    tags=["results"],
)
async def download_photo(
    request: AnyRequest,
    services: Services,
    public_id: str,
    n: int,
    byte_range: Annotated[str | None, HeaderParameter(name="Range")] = None,
) -> ASGIResponse:
    """Stream the result under a safe file name; a single byte range may be asked for."""
    sight = await services.watch.look(public_id)
    return await _send(request, services, downloads.photo(sight, n, services.store, grace=_grace(services)))


@get(
    "/jobs/{public_id:str}/photos/{n:int}/thumbnail",
    summary="Its thumbnail",
    responses={**_BYTES, **_PROBLEMS},
    tags=["results"],
)
async def download_thumbnail(request: AnyRequest, services: Services, public_id: str, n: int) -> ASGIResponse:
    """Stream a small JPEG of the result."""
    sight = await services.watch.look(public_id)
    return await _send(
        request, services, downloads.thumbnail(sight, n, services.store, grace=_grace(services))
    )


@get(
    "/jobs/{public_id:str}/archive",
    summary="All results as one ZIP",
    responses={**_BYTES, **_PROBLEMS},
    tags=["results"],
)
async def download_archive(request: AnyRequest, services: Services, public_id: str) -> ASGIResponse:
    """Stream the results and `manifest.json`, stored, as ZIP64 where needed, of exact length."""
    sight = await services.watch.look(public_id)
    return await _send(request, services, downloads.everything(sight, services.store, grace=_grace(services)))


@delete(
    "/jobs/{public_id:str}",
    status_code=204,
    guards=[same_site_only],
    summary="Delete it all now",
    responses=_PROBLEMS,
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


@get("/operations", summary="What can be done to photos", tags=["operations"])
async def list_operations() -> list[dict[str, object]]:
    """List every operation with the JSON Schema of its parameters, plugins included."""
    return operations_schema()


@get("/", include_in_schema=False)
async def upload_page(services: Services) -> Response[bytes]:
    """Show the page that takes photos; browsers may keep it, and with it what was typed."""
    limits = pages.UploadLimits(
        files=services.settings.job.files,
        file_bytes=services.settings.photo.bytes,
        job_bytes=services.settings.job.bytes,
        ttl=services.settings.job.ttl,
    )
    return Response(
        pages.upload_page(operations_schema(), limits).encode(),
        media_type=_TEXT_PAGE,
        headers={"content-security-policy": pages.CSP, "cache-control": "no-cache"},
    )


JOB_ROUTES: Sequence[BaseRouteHandler] = (
    upload_page,
    create_job,
    put_photo,
    seal_job,
    read_job,
    watch_job,
    download_photo,
    download_thumbnail,
    download_archive,
    delete_job,
    delete_job_by_form,
    list_operations,
)
