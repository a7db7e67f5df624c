"""What there is to choose from: operations, presets, and the page on which people do."""

from collections.abc import Sequence
from urllib.parse import parse_qsl

from litestar import Response, get
from litestar.handlers import BaseRouteHandler

from ebbmark.errors import Rejected
from ebbmark.imaging.operation import operations_schema
from ebbmark.imaging.recipe import Recipe
from ingest import pages, schemas
from ingest.answers import problems
from ingest.intake import recipe_of
from ingest.services import TEXT_PAGE, AnyRequest, Services
from ingest.uploads import Fields

_SAYING = frozenset({"operations", "preset", "recipe"})


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
    )
    said = _said(request.scope["query_string"])
    page = pages.upload_page(
        operations_schema(),
        limits,
        presets=list(services.presets.values()),
        given=_recipe_of_link(said, services),
        preset=said.first("preset"),
    )
    return Response(
        page.encode(),
        media_type=TEXT_PAGE,
        headers={"content-security-policy": pages.CSP, "cache-control": "no-cache"},
    )


def _said(query: bytes) -> Fields:
    """Return what a link says; nothing if it does not speak of settings."""
    fields = Fields({})
    try:
        for name, value in parse_qsl(query.decode(), max_num_fields=256, errors="strict"):
            fields.values.setdefault(name, []).append(value)
    except ValueError as exc:
        raise Rejected("invalid-recipe", "This link is broken: what follows its ? cannot be read.") from exc
    return fields if fields.values.keys() & _SAYING else Fields({})


def _recipe_of_link(said: Fields, services: Services) -> Recipe | None:
    return recipe_of(said, services.presets, has_logo=False, whole_form=False) if said.values else None


CHOICE_ROUTES: Sequence[BaseRouteHandler] = (upload_page, list_operations, list_presets)
