"""The HTTP interface: each handler reads its request, asks the door or the watch, and answers."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import timedelta
from typing import Annotated
from urllib.parse import unquote

import msgspec
from litestar import Request, Response, delete, get, post, put
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.response import Redirect, ServerSentEvent, Stream

from ebbmark.errors import Conflict, LimitExceeded, Rejected
from ebbmark.imaging.operation import operations_schema
from ebbmark.ledger import JobRow, Ledger
from ebbmark.settings import Settings
from ebbmark.states import JobState
from ebbmark.store import ObjectStore
from ingest import downloads, pages, schemas
from ingest.apidocs import FormOperation, PhotoOperation, SealOperation
from ingest.backlog import Backlog, require_disk
from ingest.clients import Places, Rate, client_key
from ingest.intake import Intake, recipe_of
from ingest.jobs import Door
from ingest.problems import wants_page
from ingest.stream import Expired, Sight, Unknown, Watch, parse_last_event_id
from ingest.tokens import token_hash
from ingest.uploads import Patience, Spool, heard, pieces, read_form, small_body
from observability import metrics

AnyRequest = Request[object, object, State]

_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
HELD = "held"
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
    uploads: Places
    backlog: Backlog
    jobs: Rate
    watchers: Places

    @asynccontextmanager
    async def taking_in(self, request: AnyRequest, whole: timedelta) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Hold one of the places for uploads under way, and yield the body, which ends within `whole`.

        A client that is refused is heard out when the place is free again.

        Raises:
            LimitExceeded: there was no place, code `too-many-uploads`.
            Unavailable: there is no room on the disk, or too much waits to be rendered.
        """
        http = self.settings.http
        patience = Patience(http.chunk_timeout, whole, http.upload_rate)
        async with (
            aclosing(pieces(request, patience)) as body,
            heard(request, body),
            self.uploads.take(client_of(request), wait=_UPLOAD_WAIT),
        ):
            require_disk(http)
            await self.backlog.require_room()
            with metrics.UPLOADS_OPEN.track_inprogress():
                yield body


def client_of(request: AnyRequest) -> str:
    """Return what tells this client from others: its address, or what a trusted proxy says it is."""
    return client_key(request.client.host if request.client else None)


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
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key")] = None,
) -> Response[schemas.Accepted] | Redirect:
    """Accept a form of photos and operations as one job.

    Without photos the job stays open: `PUT` them one by one, each is rendered as it arrives, then `seal`.
    """
    intake = Intake(services.door, idempotency_key)
    page = wants_page(request)
    async with services.taking_in(request, services.settings.job.upload_deadline) as body:
        services.jobs.spend(client_of(request))
        try:
            fields = await read_form(request, body, services.settings, intake.on_file)
            recipe = recipe_of(fields, has_logo=intake.logo is not None, whole_form=page)
            fill_later = not intake.photos and not page
            opened = await intake.accept(recipe, fill_later=fill_later)
        except BaseException:
            await intake.abandon()
            raise
    if page:
        return Redirect(f"/jobs/{opened.public_id}", status_code=303)
    return Response(
        schemas.accepted(opened.public_id, opened.job.state, opened.job.total),
        status_code=202,
        headers={"location": f"/jobs/{opened.public_id}", "retry-after": "1"},
    )


def _place(n: str) -> int | None:
    # int() would read 1_0, +1 and digits of other scripts too, and one photo would have several addresses.
    return int(n) if _NUMBER.fullmatch(n) else None


def _known(n: str) -> int:
    place = _place(n)
    if place is None:
        raise Rejected("unknown-photo", "There is no photo of this number.")
    return place


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
    responses={**_REFUSALS, **_PROBLEMS},
    tags=["jobs"],
)
async def put_photo(
    request: AnyRequest,
    services: Services,
    public_id: str,
    n: str,
    file_name: Annotated[
        str, Parameter(header="X-Filename", description="The file's name, UTF-8, percent-encoded", default="")
    ],
) -> schemas.Received:
    """Accept the body as photo `n`; rendering starts at once. Sending the same again is harmless."""
    settings = services.settings
    place = _place(n)
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
    return schemas.Received(n=place, name=row.name or "", state=row.state, bytes=row.size)


@post(
    "/jobs/{public_id:str}/seal",
    status_code=202,
    guards=[same_site_only],
    summary="Say that all photos are there",
    operation_class=SealOperation,
    request_max_body_size=None,
    responses={**_REFUSALS, **_PROBLEMS},
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


@get(
    ["/jobs/{public_id:str}", "/status/{public_id:str}"],
    summary="The job and its photos",
    responses={200: ResponseSpec(schemas.Job, description="The job"), **_PROBLEMS},
    tags=["jobs"],
)
async def read_job(request: AnyRequest, services: Services, public_id: str) -> Response[bytes]:
    """Answer with JSON, or with the page when a browser asks. The ETag changes with every version."""
    sight = await services.watch.look(public_id)
    page = wants_page(request) and request.url.path.startswith("/jobs/")
    headers = {"vary": "accept", "cache-control": "private, no-cache", "x-robots-tag": "noindex"}
    if page:
        headers["content-security-policy"] = pages.CSP
        headers["cache-control"] = "no-store"
        body = pages.job_page(msgspec.json.decode(sight.json()))
        return Response(body.encode(), media_type=_TEXT_PAGE, headers=headers)
    headers["etag"] = sight.etag
    if request.headers.get("if-none-match") == sight.etag:
        return Response(b"", status_code=304, headers=headers)
    return Response(sight.json(), media_type="application/json", headers=headers)


@get(
    "/jobs/{public_id:str}/events",
    summary="The job's snapshots as they change",
    responses=_PROBLEMS,
    tags=["jobs"],
)
async def watch_job(
    request: AnyRequest,
    services: Services,
    public_id: str,
    last_event_id: Annotated[str | None, Parameter(header="Last-Event-ID")] = None,
) -> ServerSentEvent:
    """Stream `snapshot` events, each the whole job with its version as id, and `end` at the end."""
    await services.watch.look(public_id)
    held: AsyncExitStack = request.scope["state"][HELD]
    await held.enter_async_context(services.watchers.take(client_of(request)))
    return ServerSentEvent(
        services.watch.events(public_id, parse_last_event_id(last_event_id)),
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


def _stream(request: AnyRequest, download: downloads.Download) -> Response[bytes] | Stream:
    headers = {**download.headers, "cache-control": "private, no-cache"}
    if headers.get("etag") and request.headers.get("if-none-match") == headers["etag"]:
        return Response(b"", status_code=304, headers={"etag": headers["etag"]})
    return Stream(download.body, status_code=download.status, media_type=download.media_type, headers=headers)


def _grace(services: Services) -> float:
    return services.settings.job.grace.total_seconds()


@get("/jobs/{public_id:str}/photos/{n:str}", summary="One result", responses=_PROBLEMS, tags=["results"])
async def download_photo(
    request: AnyRequest,
    services: Services,
    public_id: str,
    n: str,
    byte_range: Annotated[str | None, Parameter(header="Range")] = None,
) -> Response[bytes] | Stream:
    """Stream the result under a safe file name; a single byte range may be asked for."""
    sight: Sight = await services.watch.look(public_id)
    return _stream(
        request,
        downloads.photo(sight, _known(n), services.store, grace=_grace(services), byte_range=byte_range),
    )


@get(
    "/jobs/{public_id:str}/photos/{n:str}/thumbnail",
    summary="Its thumbnail",
    responses=_PROBLEMS,
    tags=["results"],
)
async def download_thumbnail(
    request: AnyRequest, services: Services, public_id: str, n: str
) -> Response[bytes] | Stream:
    """Stream a small JPEG of the result."""
    sight = await services.watch.look(public_id)
    return _stream(request, downloads.thumbnail(sight, _known(n), services.store, grace=_grace(services)))


@get("/jobs/{public_id:str}/archive", summary="All results as one ZIP", responses=_PROBLEMS, tags=["results"])
async def download_archive(
    request: AnyRequest, services: Services, public_id: str
) -> Response[bytes] | Stream:
    """Stream the results and `manifest.json`, stored, as ZIP64 where needed, of exact length."""
    sight = await services.watch.look(public_id)
    return _stream(request, downloads.archive(sight, services.store, grace=_grace(services)))


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


@post("/jobs/{public_id:str}/delete", status_code=303, guards=[same_site_only], include_in_schema=False)
async def delete_job_by_form(services: Services, public_id: str) -> Redirect:
    """Do the same for a page without scripts."""
    sight = await services.watch.look(public_id)
    await services.door.delete(sight.snapshot.job.id)
    return Redirect(f"/jobs/{public_id}", status_code=303)


@get("/operations", summary="What can be done to photos", tags=["operations"])
async def list_operations() -> list[dict[str, object]]:
    """List every operation with the JSON Schema of its parameters, plugins included."""
    return operations_schema()


@get("/", include_in_schema=False)
async def upload_page(services: Services) -> Response[bytes]:
    """Show the page that takes photos."""
    limits = pages.UploadLimits(
        files=services.settings.job.files,
        file_bytes=services.settings.photo.bytes,
        job_bytes=services.settings.job.bytes,
        ttl=services.settings.job.ttl,
    )
    return Response(
        pages.upload_page(operations_schema(), limits).encode(),
        media_type=_TEXT_PAGE,
        headers={"content-security-policy": pages.CSP, "cache-control": "no-store"},
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
