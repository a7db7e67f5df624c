"""The API's own description: bodies that handlers read as streams, and a docs page without a CDN."""

from dataclasses import dataclass, field
from importlib.resources import files

from litestar import Response, get
from litestar.openapi.spec import OpenAPIMediaType, Operation, Reference, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.router import Router
from litestar.static_files import create_static_files_router

from ebbmark.imaging.recipe import LONGEST_NAME
from ingest import pages

ASSETS = "/docs/assets"
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Ebbmark HTTP interface</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/static/{pages.STATIC_VERSION}/mark.svg" type="image/svg+xml">
<link rel="stylesheet" href="{ASSETS}/swagger-ui.css">
<script src="{ASSETS}/swagger-ui-bundle.js" defer></script>
<script src="/static/{pages.STATIC_VERSION}/docs.js" defer></script>
</head>
<body><div id="docs"></div>
<noscript>The description itself is at <a href="/openapi.json">/openapi.json</a>.</noscript></body>
</html>
"""

_BINARY = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)
_TEXT = Schema(type=OpenAPIType.STRING)


def _form_body() -> RequestBody:
    properties: dict[str, Reference | Schema] = {
        "files": Schema(type=OpenAPIType.ARRAY, items=_BINARY, description="The photos; repeat the field."),
        "logo": Schema(
            type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY, description="For the watermark."
        ),
        "recipe": Schema(
            type=OpenAPIType.STRING,
            description='JSON, `{"operations": [{"operation": "watermark", "text": "© Ann"}]}`; '
            "or use the short form.",
        ),
        "operations": Schema(
            type=OpenAPIType.STRING,
            description="Short form: names in order, `resize,watermark`. Their parameters are fields "
            "of the form, such as `width` and `text`; see `/operations`.",
        ),
        "preset": Schema(
            type=OpenAPIType.STRING,
            description="A recipe by its name, see `/presets`; `operations` are added to it, and other "
            "fields go before what it says.",
        ),
        "name": Schema(
            type=OpenAPIType.STRING,
            max_length=LONGEST_NAME,
            description="What the results are called, such as `{stem}-{width}`; also `{n}` (or `{n:3}`), "
            "`{height}`, `{ext}` and `{date}`. Without it results are called like their originals.",
        ),
        "webhook": Schema(
            type=OpenAPIType.STRING,
            description="An https:// address that is told when the job is complete, and when it is gone; "
            "signed by Standard Webhooks.",
        ),
        "webhook_secret": Schema(
            type=OpenAPIType.STRING,
            description="What its messages are signed with, `whsec_…`; one is made when absent.",
        ),
        "webhook_reference": Schema(
            type=OpenAPIType.STRING,
            description="Up to 200 characters of yours that its messages carry; they do not carry the link.",
        ),
    }
    schema = Schema(type=OpenAPIType.OBJECT, properties=properties)
    return RequestBody(content={"multipart/form-data": OpenAPIMediaType(schema=schema)}, required=True)


def _preview_body() -> RequestBody:
    recipe = Schema(
        type=OpenAPIType.OBJECT,
        description='`{"operations": [{"operation": "blur"}]}`; so may the whole body be.',
    )
    short = Schema(
        type=OpenAPIType.STRING,
        description="Short form: names in order, `resize,watermark`; their parameters are further fields.",
    )
    json = Schema(type=OpenAPIType.OBJECT, properties={"recipe": recipe, "operations": short})
    form = Schema(
        type=OpenAPIType.OBJECT,
        properties={
            "file": Schema(
                type=OpenAPIType.STRING,
                format=OpenAPIFormat.BINARY,
                description="One photo; without it one of ours is shown.",
            ),
            "logo": Schema(
                type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY, description="For the watermark."
            ),
            "recipe": _TEXT,
            "operations": short,
        },
    )
    return RequestBody(
        content={
            "multipart/form-data": OpenAPIMediaType(schema=form),
            "application/json": OpenAPIMediaType(schema=json),
        },
        required=True,
    )


def _photo_body() -> RequestBody:
    return RequestBody(content={"application/octet-stream": OpenAPIMediaType(schema=_BINARY)}, required=True)


def _seal_body() -> RequestBody:
    total = Schema(type=OpenAPIType.INTEGER, minimum=1, description="How many photos there are.")
    schema = Schema(type=OpenAPIType.OBJECT, properties={"total": total}, required=["total"])
    return RequestBody(content={"application/json": OpenAPIMediaType(schema=schema)}, required=True)


def _retry_body() -> RequestBody:
    photos = Schema(
        type=OpenAPIType.ARRAY,
        items=Schema(type=OpenAPIType.INTEGER, minimum=0),
        description="Numbers of failed photos; without them all that are `retryable` and were not cancelled.",
    )
    recipe = Schema(
        type=OpenAPIType.OBJECT,
        description='What to do this time, `{"operations": [{"operation": "grayscale"}]}`; the job keeps it. '
        "Taken only while no photo is under way.",
    )
    operations = Schema(
        type=OpenAPIType.STRING,
        description="The same in short form: names in order; their parameters are further properties.",
    )
    json = Schema(
        type=OpenAPIType.OBJECT,
        properties={"photos": photos, "recipe": recipe, "operations": operations, "preset": _TEXT},
    )
    logo = Schema(
        type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY, description="Another logo, with a recipe."
    )
    form = Schema(
        type=OpenAPIType.OBJECT,
        properties={"photos": _TEXT, "recipe": _TEXT, "operations": _TEXT, "preset": _TEXT, "logo": logo},
    )
    return RequestBody(
        content={
            "application/json": OpenAPIMediaType(schema=json),
            "multipart/form-data": OpenAPIMediaType(schema=form),
        },
        required=False,
    )


def _redrive_body() -> RequestBody:
    uuid = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.UUID)
    properties: dict[str, Reference | Schema] = {
        "ids": Schema(type=OpenAPIType.ARRAY, items=_TEXT, min_items=1, max_items=200),
        "reason": Schema(type=OpenAPIType.STRING, description="All open letters of this reason."),
        "job": uuid,
        "all": Schema(type=OpenAPIType.BOOLEAN, description="All open letters."),
        "dry_run": Schema(type=OpenAPIType.BOOLEAN, description="Do nothing, tell what would come of it."),
        "rate": Schema(type=OpenAPIType.NUMBER, minimum=0.1, maximum=1000, description="Letters a second."),
        "force": Schema(
            type=OpenAPIType.BOOLEAN, description="Redrive what was redriven before, however often."
        ),
        "cursor": Schema(type=OpenAPIType.INTEGER, minimum=0, description="Where the last answer left off."),
    }
    schema = Schema(
        type=OpenAPIType.OBJECT,
        properties=properties,
        description="Exactly one of ids, reason, job and all.",
    )
    return RequestBody(content={"application/json": OpenAPIMediaType(schema=schema)}, required=True)


@dataclass
class FormOperation(Operation):
    """An operation whose handler parses the form by itself."""

    requestBody: RequestBody | None = field(default_factory=_form_body)  # noqa: N815 - OpenAPI's spelling


@dataclass
class PreviewOperation(Operation):
    """An operation whose body is a recipe, and maybe a photo to try it on."""

    requestBody: RequestBody | None = field(default_factory=_preview_body)  # noqa: N815 - OpenAPI's spelling


@dataclass
class PhotoOperation(Operation):
    """An operation whose body is the photo."""

    requestBody: RequestBody | None = field(default_factory=_photo_body)  # noqa: N815 - OpenAPI's spelling


@dataclass
class SealOperation(Operation):
    """An operation whose body is a seal, of which we say ourselves what is wrong."""

    requestBody: RequestBody | None = field(default_factory=_seal_body)  # noqa: N815 - OpenAPI's spelling


@dataclass
class RetryOperation(Operation):
    """An operation whose body may say which photos, and what else to do with them."""

    requestBody: RequestBody | None = field(default_factory=_retry_body)  # noqa: N815 - OpenAPI's spelling


class RedriveOperation(Operation):
    """An operation whose body is a wish, of which we say ourselves what is wrong."""

    requestBody: RequestBody | None = field(default_factory=_redrive_body)  # noqa: N815 - OpenAPI's spelling


@get("/docs", include_in_schema=False)
async def docs_page() -> Response[bytes]:
    """Show the interface, with everything from this server."""
    return Response(_PAGE.encode(), media_type="text/html", headers={"content-security-policy": _CSP})


def assets_router() -> Router:
    """Serve Swagger UI's files out of its package."""
    folder = files("swagger_ui").joinpath("static")
    return create_static_files_router(path=ASSETS, directories=[str(folder)], include_in_schema=False)
