"""What there is to choose from: operations, presets, and the page on which people do."""

from collections.abc import Sequence

from litestar import Response, get
from litestar.handlers import BaseRouteHandler

from ebbmark.errors import Rejected
from ebbmark.imaging.operation import operations_schema
from ebbmark.links import read_link
from ingest import pages, schemas
from ingest.answers import problems
from ingest.previews import largest_preview
from ingest.services import TEXT_PAGE, AnyRequest, Services


@get("/operations", summary="What can be done to photos", responses=problems(), tags=["operations"])
async def list_operations() -> list[dict[str, object]]:
    """List every operation with the JSON Schema (2020-12) of its parameters, plugins included."""
    return operations_schema()


@get("/presets", summary="Recipes that have a name", responses=problems(), tags=["operations"])
async def list_presets(services: Services) -> list[schemas.Preset]:
    """List every preset with its recipe. `preset=NAME` in a form asks for it; other fields go before it."""
    return [schemas.preset(each) for each in services.presets.values()]


@get("/", include_in_schema=False)
async def upload_page(request: AnyRequest, services: Services) -> Response[bytes]:
    """Show the page that takes photos; browsers may keep it, and with it what was typed.

    A link to settings says what a form would: `recipe`, `preset`, or `operations` and their fields.
    """
    settings = services.settings
    limits = pages.UploadLimits(
        files=settings.job.files,
        file_bytes=settings.photo.bytes,
        job_bytes=settings.job.bytes,
        ttl=settings.job.ttl,
        preview_bytes=largest_preview(settings),
    )
    try:
        link = read_link(request.scope["query_string"].decode(), services.presets)
    except UnicodeDecodeError as exc:
        raise Rejected("invalid-recipe", "This link is broken: it is not UTF-8.") from exc
    page = pages.upload_page(
        operations_schema(),
        limits,
        presets=list(services.presets.values()),
        given=link.recipe if link else None,
        preset=link.preset if link else None,
    )
    return Response(
        page.encode(),
        media_type=TEXT_PAGE,
        headers={"content-security-policy": pages.CSP, "cache-control": "no-cache"},
    )


CHOICE_ROUTES: Sequence[BaseRouteHandler] = (upload_page, list_operations, list_presets)
