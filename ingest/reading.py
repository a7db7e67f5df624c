"""What is asked of a job: its state, its changes, its results. Nothing here writes."""

from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.handlers import BaseRouteHandler
from litestar.params import HeaderParameter
from litestar.response import ServerSentEvent
from litestar.response.base import ASGIResponse

from ingest import downloads, pages, schemas
from ingest.answers import JOB, UNCHANGED, content, problems, told
from ingest.conditions import is_known, is_the_same, parse_range
from ingest.downloads import Download
from ingest.problems import wants_page
from ingest.sending import Sending, begun
from ingest.services import (
    HELD,
    TEXT_PAGE,
    AnyRequest,
    Services,
    client_of,
    known_place,
)
from ingest.stream import parse_last_event_id
from observability import metrics


@get(
    ["/jobs/{public_id:str}", "/status/{public_id:str}"],
    summary="The job and its photos",
    responses={200: told(schemas.Job, "The job"), 304: UNCHANGED, **problems(*JOB)},
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
        return Response(body.encode(), media_type=TEXT_PAGE, headers=headers)
    headers["etag"] = sight.etag
    if is_known(request.headers.get("if-none-match"), sight.etag):
        return Response(b"", status_code=304, headers=headers)
    return Response(sight.json(), media_type="application/json", headers=headers)


@get(
    "/jobs/{public_id:str}/events",
    summary="The job's snapshots as they change",
    responses={
        200: told(schemas.StreamEvent, "Events, as long as it lasts", "text/event-stream"),
        **problems(*JOB),
    },
    tags=["jobs"],
)
async def watch_job(
    request: AnyRequest,
    services: Services,
    public_id: str,
    last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID")] = None,
) -> ServerSentEvent:
    """Stream `snapshot` events, each the whole job with its version as id, and `end` at the end.

    A version comes again when photos of it are taken up for rendering.
    """
    await services.watch.look(public_id)
    held: AsyncExitStack = request.scope["state"][HELD]
    await held.enter_async_context(services.watchers.take(client_of(request)))
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
            await held.enter_async_context(services.downloads.take(client_of(request)))
            held.enter_context(metrics.DOWNLOADS_OPEN.track_inprogress())
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


@get(
    "/jobs/{public_id:str}/photos/{n:str}",
    summary="One result",
    responses={
        200: content("image/*", "The result"),
        206: content("image/*", "The range of it that was asked for"),
        304: UNCHANGED,
        **problems(*JOB, 416),
    },
    tags=["results"],
)
async def download_photo(
    request: AnyRequest,
    services: Services,
    public_id: str,
    n: str,
    byte_range: Annotated[str | None, HeaderParameter(name="Range")] = None,
) -> ASGIResponse:
    """Stream the result under a safe file name; a single byte range may be asked for."""
    del byte_range  # declared for the description; read with the other conditions
    sight = await services.watch.look(public_id)
    return await _send(
        request, services, downloads.photo(sight, known_place(n), services.store, grace=_grace(services))
    )


@get(
    "/jobs/{public_id:str}/photos/{n:str}/thumbnail",
    summary="Its thumbnail",
    responses={200: content("image/jpeg", "The thumbnail"), 304: UNCHANGED, **problems(*JOB)},
    tags=["results"],
)
async def download_thumbnail(request: AnyRequest, services: Services, public_id: str, n: str) -> ASGIResponse:
    """Stream a small JPEG of the result."""
    sight = await services.watch.look(public_id)
    return await _send(
        request, services, downloads.thumbnail(sight, known_place(n), services.store, grace=_grace(services))
    )


@get(
    "/jobs/{public_id:str}/archive",
    summary="All results as one ZIP",
    responses={200: content("application/zip", "The archive"), **problems(*JOB, 409)},
    tags=["results"],
)
async def download_archive(request: AnyRequest, services: Services, public_id: str) -> ASGIResponse:
    """Stream the results and `manifest.json`, stored, as ZIP64 where needed, of exact length."""
    sight = await services.watch.look(public_id)
    return await _send(request, services, downloads.everything(sight, services.store, grace=_grace(services)))


READING_ROUTES: Sequence[BaseRouteHandler] = (
    read_job,
    watch_job,
    download_photo,
    download_thumbnail,
    download_archive,
)
