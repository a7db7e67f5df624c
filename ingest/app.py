"""The ingest process: the HTTP interface wired to ledger, store and log."""

import asyncio
import resource
import signal
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPMethod
from types import FrameType
from typing import cast

import msgspec
import uvicorn
import uvloop
from litestar import Litestar, Request, Response, get
from litestar.datastructures import CacheControlHeader, State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.static_files import create_static_files_router
from litestar.types import (
    ASGIApp,
    HTTPDisconnectEvent,
    LifeSpanReceive,
    LifeSpanScope,
    LifeSpanSend,
    Message,
    Receive,
    Scope,
    Send,
)
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from ebbmark.errors import EbbmarkError, LimitExceeded, Unavailable
from ebbmark.eventlog import EventLog, KafkaLog
from ebbmark.ledger import Ledger
from ebbmark.ledger.postgres import PostgresLedger
from ebbmark.pool import ChildPool
from ebbmark.presets import Preset, load
from ebbmark.pulse import loop_watched
from ebbmark.settings import Settings
from ebbmark.store import ObjectStore, S3Store
from ingest import connections, pages, problems, schemas
from ingest.answers import told
from ingest.apidocs import assets_router, docs_page
from ingest.backlog import Backlog, show_disk
from ingest.choices import CHOICE_ROUTES
from ingest.clients import Places, Rate
from ingest.control import CONTROL_ROUTES
from ingest.deadletters import LETTER_ROUTES
from ingest.deliveries import DELIVERY_ROUTES
from ingest.jobs import Door
from ingest.operators import Operators
from ingest.previews import PREVIEW_ROUTES, Previews, previewing
from ingest.receipts import RECEIPT_ROUTES
from ingest.redrive import Redriver
from ingest.routes import JOB_ROUTES
from ingest.services import HELD, Services
from ingest.stream import Watch
from ingest.tally import Tally
from ingest.timeline import TIMELINE_ROUTES
from observability import logs, metrics, tracing

log = logs.get(__name__)

_READY_WITHIN = 4.0
_METHODS = frozenset(HTTPMethod)


@get("/healthz", include_in_schema=False)
async def healthz() -> dict[str, str]:
    """Say that the process answers."""
    return {"status": "ok"}


@get(
    "/readyz",
    responses={
        200: told(schemas.Readiness, "All do"),
        503: told(schemas.Readiness, "One does not; try again after Retry-After"),
    },
    tags=["operation"],
    summary="Whether every server it needs answers",
)
async def readyz(services: Services, log_: EventLog) -> Response[schemas.Readiness]:
    """Ask Postgres, S3 and Kafka, each with a limit."""

    async def ask(what: Ledger | ObjectStore | EventLog) -> str:
        try:
            async with asyncio.timeout(_READY_WITHIN):
                await what.ready()
        except (Unavailable, TimeoutError):
            return "unavailable"
        return "ok"

    ledger, store, eventlog = await asyncio.gather(ask(services.ledger), ask(services.store), ask(log_))
    ready = ledger == store == eventlog == "ok"
    body = schemas.Readiness(ready=ready, ledger=ledger, store=store, log=eventlog)
    return Response(body, status_code=200 if ready else 503, headers={} if ready else {"retry-after": "2"})


@get("/metrics", include_in_schema=False)
async def show_metrics(request: Request[object, object, State]) -> Response[bytes]:
    """Show this process's metrics to Prometheus: as OpenMetrics, with exemplars, when it accepts that."""
    encode, media_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), media_type=media_type, headers={"vary": "accept"})


@get("/openapi.json", include_in_schema=False)
async def openapi(request: Request[object, object, State]) -> Response[bytes]:
    """Show the description of the interface."""
    return Response(
        msgspec.json.encode(request.app.openapi_schema.to_schema()), media_type="application/json"
    )


def observed(app: ASGIApp) -> ASGIApp:
    """Count and time every request by its route, and see that no answer lacks the safety headers.

    What answers GET answers HEAD, too: the application is asked for the same, and its body dropped.
    What a handler holds for as long as its answer goes out, it enters in the stack under `HELD`.
    """

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        method = str(scope["method"])
        head = method == "HEAD"
        if head:
            scope, receive = cast("Scope", {**scope, "method": "GET"}), gone

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(h for h in problems.SAFETY if h[0] not in present),
                ]
            elif head:
                return
            await send(message)
            if head:
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        try:
            async with AsyncExitStack() as held:
                scope.setdefault("state", {})[HELD] = held
                await app(scope, receive, noting)
        finally:
            route = str(scope.get("path_template") or "unrouted")
            metrics.HTTP_REQUESTS.labels(route, method if method in _METHODS else "other", str(status)).inc()
            metrics.HTTP_SECONDS.labels(route).observe(time.perf_counter() - started)

    return middleware


async def gone() -> HTTPDisconnectEvent:
    """Say that nobody is there to take a body, so that streams end at once."""
    return {"type": "http.disconnect"}


class _Application(Litestar):
    """Litestar, observed from outside: its middlewares do not see what no route answers."""

    async def __call__(  # what a server calls for its own start and end is let through
        self, scope: Scope | LifeSpanScope, receive: Receive | LifeSpanReceive, send: Send | LifeSpanSend
    ) -> None:
        await observed(cast("ASGIApp", super().__call__))(
            cast("Scope", scope), cast("Receive", receive), cast("Send", send)
        )


def create_app(
    settings: Settings,
    ledger: Ledger,
    store: ObjectStore,
    eventlog: EventLog,
    pool: ChildPool | None = None,
    *,
    presets: Mapping[str, Preset] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Litestar:
    """Return the application over the given ports and pool; they are opened and closed by the caller.

    `presets` are those of the settings when they are not given; a wrong file is told by `PresetsError`.
    Without a pool there are no previews.
    `clock` is in seconds; by it clients are counted, and what was asked is good for a while.
    """
    presets = load(settings.recipe.presets) if presets is None else presets
    services = Services(
        settings=settings,
        presets=presets,
        ledger=ledger,
        store=store,
        door=Door(ledger, store, eventlog, settings),
        watch=Watch(ledger, stream_timeout=settings.http.stream_timeout),
        uploads=Places(
            settings.http.uploads,
            settings.http.uploads_per_client,
            LimitExceeded("too-many-uploads", "Many uploads are under way; try again in a moment."),
            counted_in=metrics.UPLOADS_REFUSED,
        ),
        backlog=Backlog(ledger, most=settings.http.backlog, jobs=settings.http.backlog_jobs, clock=clock),
        jobs=Rate(
            settings.http.jobs_per_minute,
            LimitExceeded("too-many-jobs", "You open many jobs; send more photos in each, or wait a moment."),
            clock=clock,
            counted_in=metrics.UPLOADS_REFUSED,
        ),
        watchers=Places(
            settings.http.watchers,
            settings.http.watchers_per_client,
            LimitExceeded("too-many-watchers", "Many jobs are being watched; ask for the status instead."),
            counted_in=metrics.ASKERS_REFUSED,
        ),
        downloads=Places(
            settings.http.downloads,
            settings.http.downloads_per_client,
            Unavailable("too-many-downloads", "Many downloads are under way; try again in a moment."),
            counted_in=metrics.ASKERS_REFUSED,
        ),
    )
    attempts = Rate(
        settings.http.operator_attempts,
        LimitExceeded("too-many-attempts", "Too many wrong operator tokens came from here; wait a moment."),
        clock=clock,
        counted_in=metrics.ASKERS_REFUSED,
    )
    operators, redriver = Operators(settings.operator.token, attempts), Redriver(ledger, eventlog, settings)
    tally, previews = Tally(ledger.letters, clock=clock), Previews(settings, pool, presets, clock=clock)

    @asynccontextmanager
    async def watching(_: Litestar) -> AsyncGenerator[None]:
        listening = asyncio.create_task(services.watch.run())
        try:
            yield
        finally:
            services.watch.close()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    return _Application(
        route_handlers=[
            *CHOICE_ROUTES,
            *JOB_ROUTES,
            *CONTROL_ROUTES,
            *DELIVERY_ROUTES,
            *LETTER_ROUTES,
            *PREVIEW_ROUTES,
            *RECEIPT_ROUTES,
            *TIMELINE_ROUTES,
            healthz,
            readyz,
            show_metrics,
            docs_page,
            openapi,
            assets_router(),
            create_static_files_router(
                path=f"/static/{pages.STATIC_VERSION}",
                directories=[pages.STATIC_FOLDER],
                cache_control=CacheControlHeader(public=True, max_age=31_536_000, immutable=True),
                include_in_schema=False,
            ),
        ],
        dependencies={
            "services": Provide(lambda: services, sync_to_thread=False),
            "log_": Provide(lambda: eventlog, sync_to_thread=False),
            "operators": Provide(lambda: operators, sync_to_thread=False),
            "redriver": Provide(lambda: redriver, sync_to_thread=False),
            "tally": Provide(lambda: tally, sync_to_thread=False),
            "previews": Provide(lambda: previews, sync_to_thread=False),
        },
        exception_handlers={
            EbbmarkError: problems.on_error,
            HTTPException: problems.on_http_exception,
            Exception: problems.on_exception,
        },
        before_request=connections.refuse,
        lifespan=[watching],
        openapi_config=OpenAPIConfig(
            title="Ebbmark",
            version="1",
            description="Send photos, have them marked, take the results; an hour later they are gone. "
            "Who accepts text/html is answered with pages, where there are some.",
            render_plugins=[],
            components=Components(security_schemes={"operator": SecurityScheme("http", scheme="bearer")}),
        ),
        state=State({"watch": services.watch, "operators": operators}),
        logging_config=None,
        debug=False,
    )


class _Server(uvicorn.Server):
    """Ends the event streams when it is told to stop; it would wait for them otherwise.

    Uvicorn's own raises the signal again when it has drained: the process would die of it with what it holds
    open, and never say 0.
    """

    def __init__(self, config: uvicorn.Config, watch: Watch) -> None:
        super().__init__(config)
        self._watch = watch

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del frame
        self._watch.close()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way.

    Raises:
        SettingsError: the file of presets is wrong; nothing was opened.
    """
    presets = load(settings.recipe.presets)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a file, and so is a spool
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, presets))


async def _serve(settings: Settings, presets: Mapping[str, Preset]) -> None:
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(previewing(settings))
        await stack.enter_async_context(loop_watched(settings.process.stall))
        trace = settings.trace
        stack.enter_context(tracing.exporting(trace.endpoint, trace.ratio, service="ingest"))
        eventlog = await stack.enter_async_context(KafkaLog(settings.kafka, source="ingest"))
        ledger = await stack.enter_async_context(PostgresLedger(settings.ledger))
        app = create_app(settings, ledger, S3Store(settings.store), eventlog, pool, presets=presets)
        show_disk(settings.http)
        # What alerts are about begins at zero: Prometheus sees no rise of what was not there before.
        metrics.UPLOADS_REFUSED.labels("storage-full")
        metrics.HTTP_REQUESTS.labels("unrouted", "GET", "503")
        metrics.HTTP_REQUESTS.labels("/upload", "POST", "503")
        config = uvicorn.Config(
            app,
            host=settings.http.host,
            port=settings.http.port,
            http=connections.protocol(settings.http),
            loop="none",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=20,  # pools and the last events take some seconds more
            forwarded_allow_ips=settings.http.forwarded_allow_ips,
        )
        await _Server(config, app.state.watch).serve()
