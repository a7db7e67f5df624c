"""What the chosen options would make of a photo, shown at once: nothing is stored, and nobody else waits.

A photo is taken in like any other, and rendered in a child process of ingest's own, within limits of its
own: so much of a client's time, so many at once, so many in memory.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Annotated, BinaryIO, cast

import msgspec
import multipart
from litestar import Response, post
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from ebbmark.errors import LimitExceeded, Rejected, Unavailable
from ebbmark.imaging.codec import Limits
from ebbmark.imaging.drawing import LOGO_LIMITS
from ebbmark.imaging.facts import facts_of
from ebbmark.imaging.preview import Preview, preview
from ebbmark.imaging.recipe import Recipe
from ebbmark.pool import ChildLost, ChildPool, Confines, PoolLost
from ebbmark.presets import Preset
from ebbmark.settings import Settings
from ingest.again import texts
from ingest.answers import content, problems
from ingest.apidocs import PreviewOperation
from ingest.backlog import require_disk
from ingest.clients import Places, Rate
from ingest.intake import recipe_of
from ingest.names import safe_name
from ingest.services import AnyRequest, client_of, same_site_only
from ingest.uploads import Fields, Patience, Spool, Upload, gathered, heard, pieces, read_form
from observability import metrics

_CALLS = 500
_JSON_BYTES = 64 * 1024
_FORM_BYTES = 256 * 1024
_MOST_PHOTOS = 1_000_000
_SAYS = "The picture, of X-Width by X-Height pixels; the result has X-Result-Width by X-Result-Height"


class Asked(msgspec.Struct, frozen=True):
    """What a request says: a recipe, and the files that it brought."""

    recipe: Recipe
    photo: BinaryIO | None
    logo: BinaryIO | None
    name: str


class Previews:
    """Renders photos small, for whoever chooses options, as fast as its children can and no faster."""

    def __init__(
        self,
        settings: Settings,
        pool: ChildPool | None,
        presets: Mapping[str, Preset],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without a pool there are none. `presets` may be named. `clock` is in seconds."""
        wanted = settings.preview
        self._settings = settings
        self._pool = pool
        self._presets = presets
        self._most = largest_preview(settings)
        self._rate = Rate(
            wanted.per_minute,
            LimitExceeded("too-many-previews", "You ask for many previews; wait a moment."),
            clock=clock,
            counted_in=metrics.PREVIEWS_REFUSED,
        )
        self._places = Places(
            wanted.at_once,
            wanted.per_client,
            Unavailable("previews-busy", "Many previews are being made; try again in a moment."),
            counted_in=metrics.PREVIEWS_REFUSED,
        )
        # One waits in memory for each child to be free at once; the others wait on the disk.
        self._in_memory = asyncio.Semaphore(2 * max(1, wanted.children))

    async def show(self, request: AnyRequest, facts: Callable[[str], dict[str, str]]) -> Preview:
        """Read what is asked, render it and forget it; `facts` says what is known of a photo of this name.

        Raises:
            Rejected: what would be said of the photo or the recipe in a job; or it is too much.
            Unavailable: others have all the places, or there are no previews.
        """
        client, http = client_of(request), self._settings.http
        patience = Patience(http.chunk_timeout, self._settings.preview.upload_deadline, http.upload_rate)
        async with (
            aclosing(pieces(request, patience)) as body,
            heard(request, body),
            self._places.take(client),
            AsyncExitStack() as files,
        ):
            if self._pool is None:
                raise Unavailable("no-previews", "There are no previews here.")
            self._rate.spend(client)
            require_disk(http, metrics.PREVIEWS_REFUSED)
            asked = await self._read(request, body, files)
            began = time.monotonic()
            async with self._in_memory:
                made = await self._render(self._pool, asked, facts(asked.name))
            metrics.PREVIEW_SECONDS.observe(time.monotonic() - began)
            return made

    async def _render(self, pool: ChildPool, asked: Asked, facts: dict[str, str]) -> Preview:
        wanted = self._settings.preview
        photo, logo = await asyncio.to_thread(lambda: (_content(asked.photo), _content(asked.logo)))
        limits = Limits(bytes=self._most, pixels=wanted.pixels)
        try:
            return await pool.run(
                preview, photo, asked.recipe.to_json(), logo, limits, facts, edge=wanted.edge
            )
        except ChildLost as exc:
            raise LimitExceeded(
                "preview-failed", "No preview of this photo could be made within the limits."
            ) from exc
        except PoolLost as exc:
            raise Unavailable("no-previews", "No previews can be made just now.") from exc

    async def _read(self, request: AnyRequest, body: AsyncIterator[bytes], files: AsyncExitStack) -> Asked:
        kind, _ = multipart.parse_options_header(request.headers.get("content-type", ""))
        if kind == "application/json":
            fields = _fields_of(await gathered(body, _JSON_BYTES))
            return _asked(recipe_of(fields, self._presets, has_logo=False, whole_form=False), {}, "")
        found: dict[str, BinaryIO] = {}
        name = ""

        async def on_file(upload: Upload, spool: Spool) -> None:
            nonlocal name
            is_logo = upload.field == "logo"
            if not is_logo and upload.field not in {"files", "file"}:
                raise Rejected("unknown-field", "The photo belongs in the field `file`, the logo in `logo`.")
            if upload.field in found or (not is_logo and found.keys() - {"logo"}):
                raise LimitExceeded("too-many-files", "A preview is of one photo, with one logo.")
            _check(spool, LOGO_LIMITS.bytes if is_logo else self._most)
            name = name if is_logo else upload.name
            found[upload.field] = files.enter_context(_kept(spool))

        most = self._most + LOGO_LIMITS.bytes + _FORM_BYTES
        async with aclosing(_bounded(body, most)) as bounded:
            fields = await read_form(request, bounded, self._settings, on_file)
        return _asked(
            recipe_of(fields, self._presets, has_logo="logo" in found, whole_form=False), found, name
        )


def _asked(recipe: Recipe, files: dict[str, BinaryIO], name: str) -> Asked:
    if recipe.wants_logo() and "logo" not in files:
        raise Rejected("missing-logo", "The watermark should carry a logo, but none was sent.")
    return Asked(recipe, files.get("files") or files.get("file"), files.get("logo"), name)


def _check(spool: Spool, most: int) -> None:
    if not spool.size:
        raise Rejected("empty-file", "The file is empty.")
    if spool.too_large or spool.size > most:
        raise LimitExceeded("file-too-large", f"The file is larger than {most / 1024**2:g} MiB.")


def _kept(spool: Spool) -> BinaryIO:
    """Return a file of the same bytes that stays when the spool is gone."""
    held = spool.content()
    return held.open("rb") if isinstance(held, Path) else BytesIO(held)


def _content(file: BinaryIO | None) -> bytes | None:
    return None if file is None else file.read()


async def _bounded(body: AsyncIterator[bytes], most: int) -> AsyncGenerator[bytes]:
    """Yield the body, and stop where no form of one photo can go on."""
    size = 0
    async for chunk in body:
        size += len(chunk)
        if size > most:
            raise LimitExceeded("file-too-large", f"No preview can be of more than {most / 1024**2:.0f} MiB.")
        yield chunk


def _fields_of(body: bytes) -> Fields:
    """Return what JSON says as the fields of a form: a recipe itself, or what a form would have.

    A recipe's operations are objects, a form's are names.
    """
    try:
        told = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Rejected("invalid-recipe", "The body is not a recipe, or not JSON.") from exc
    steps = told.get("operations")
    if isinstance(steps, list) and any(isinstance(step, dict) for step in cast("list[object]", steps)):
        return Fields({"recipe": [body.decode()]})
    return Fields({name: texts(value) for name, value in told.items() if value is not None and value != []})


def largest_preview(settings: Settings) -> int:
    """Return the bytes of the largest photo that is previewed; 0 where there are no previews."""
    return min(settings.preview.bytes, settings.photo.bytes) if settings.preview.children else 0


@asynccontextmanager
async def previewing(settings: Settings) -> AsyncGenerator[ChildPool | None]:
    """Hold the children that render previews, if there are to be any; nobody waits for them to start."""
    wanted = settings.preview
    if not wanted.children:
        yield None
        return
    seconds = wanted.timeout.total_seconds()
    confines = Confines(children=wanted.children, seconds=seconds, memory=wanted.memory, calls=_CALLS)
    async with ChildPool(confines) as pool:
        starting = asyncio.create_task(pool.warm())
        try:
            yield pool
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)


Place = Annotated[int | None, QueryParameter(ge=1, le=_MOST_PHOTOS)]


@post(
    "/preview",
    status_code=200,
    guards=[same_site_only],
    request_max_body_size=None,
    summary="See what a recipe does to one photo",
    operation_class=PreviewOperation,
    responses={
        200: content("image/*", _SAYS),
        **problems(400, 403, 408, 413, 415, 422),
    },
    tags=["operations"],
)
async def show_preview(
    request: AnyRequest, previews: Previews, n: Place = None, total: Place = None
) -> Response[bytes]:
    """Answer with the result, at most so many pixels long: of the photo that is sent, or of one of ours.

    Headers say how large the picture is, `X-Width` and `X-Height`, and how large the result that it shows,
    `X-Result-Width` and `X-Result-Height`. `n` and `total` are what a mark says of the photo's number and of
    how many there are. Nothing is kept.
    """
    today = datetime.now(UTC).date()
    made = await previews.show(request, lambda name: facts_of(safe_name(name), (n or 1) - 1, total, today))
    return Response(
        made.data,
        status_code=200,
        media_type=made.media_type,
        headers={
            "cache-control": "no-store",
            "x-width": str(made.width),
            "x-height": str(made.height),
            "x-result-width": str(made.result_width),
            "x-result-height": str(made.result_height),
        },
    )


PREVIEW_ROUTES: Sequence[BaseRouteHandler] = (show_preview,)
