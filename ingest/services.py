"""What all handlers share: the services behind them, whom they speak with, and what they may answer."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler

from ebbmark.errors import Rejected
from ebbmark.ledger import Ledger
from ebbmark.presets import Preset
from ebbmark.settings import Settings
from ebbmark.store import ObjectStore
from ingest.backlog import Backlog, require_disk
from ingest.clients import Places, Rate, client_key
from ingest.jobs import Door
from ingest.stream import Watch
from ingest.uploads import Patience, heard, pieces
from observability import metrics

AnyRequest = Request[object, object, State]

_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
HELD = "held"
_UPLOAD_WAIT = 5.0
TEXT_PAGE = "text/html"


class Services(msgspec.Struct, frozen=True):
    """What the handlers work with."""

    settings: Settings
    presets: Mapping[str, Preset]
    ledger: Ledger
    store: ObjectStore
    door: Door
    watch: Watch
    uploads: Places
    backlog: Backlog
    jobs: Rate
    watchers: Places
    downloads: Places

    @asynccontextmanager
    async def taking_in(
        self, request: AnyRequest, whole: timedelta, *, new_job: bool = False
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Hold one of the places for uploads under way, and yield the body, which ends within `whole`.

        A client that is refused is heard out when the place is free again.

        Raises:
            LimitExceeded: there was no place, code `too-many-uploads`, or the client may open no more jobs.
            Unavailable: there is no room on the disk, or too much waits to be rendered.
        """
        http, client = self.settings.http, client_of(request)
        patience = Patience(http.chunk_timeout, whole, http.upload_rate)
        async with (
            aclosing(pieces(request, patience)) as body,
            heard(request, body),
            self.uploads.take(client, wait=_UPLOAD_WAIT),
        ):
            require_disk(http)
            if new_job:
                self.jobs.require(client)  # who may open none takes no room from others
            await self.backlog.require_room(client, new_job=new_job)
            try:
                with metrics.UPLOADS_OPEN.track_inprogress():
                    yield body
            except BaseException:
                if new_job:
                    self.backlog.gave_up(client)
                raise


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


def place_of(n: str) -> int | None:
    """Return the photo's place that a path names, or None when it is no plain decimal number."""
    # int() would read 1_0, +1 and digits of other scripts too, and one photo would have several addresses.
    return int(n) if _NUMBER.fullmatch(n) else None


def known_place(n: str) -> int:
    """Return the place of a photo that should be there. Raises `Rejected`, code `unknown-photo`."""
    place = place_of(n)
    if place is None:
        raise Rejected("unknown-photo", "There is no photo of this number.")
    return place
