"""What routes may answer besides what they are for, as the description of the interface says it."""

from types import MappingProxyType

from litestar.openapi.datastructures import ResponseSpec

from ingest import schemas

_SAYS = MappingProxyType(
    {
        400: "A header, a parameter or the form cannot be read",
        401: "The operator token is missing or wrong",
        403: "A page of another site made a browser send this",
        404: "There is no such job (any more)",
        408: "It came too slowly, or took too long",
        409: "It contradicts what is there",
        410: "The job's photos were deleted",
        413: "Too many or too large",
        415: "Not an image or a form that we read",
        416: "The range lies outside of it",
        422: "What it asks for is wrong; the sentence says what",
        429: "Too much of one client at once; try again after Retry-After",
        503: "A server or a place is not there; try again after Retry-After",
    }
)
_ALWAYS = frozenset({429, 503})
"""Connections are refused whatever they ask for."""

JOB = frozenset({400, 404, 410})
"""Where the address names a job."""
OPERATOR = frozenset({400, 401, 403})
"""Where the operator token is to be shown."""


def problems(*statuses: int, about: str = "") -> dict[int, ResponseSpec]:
    """Describe these refusals and those that every route has; `about` says what is not there (any more)."""
    says = {**_SAYS, **({404: f"There is no such {about} (any more)"} if about else {})}
    if 401 in statuses:
        says[403] = "No operator token is set, or a page of another site asks"
    return {
        status: ResponseSpec(
            schemas.Problem,
            generate_examples=False,
            description=says[status],
            media_type="application/problem+json",
        )
        for status in sorted({*statuses, *_ALWAYS})
    }


def content(media_type: str, description: str) -> ResponseSpec:
    """Describe a body of bytes."""
    return ResponseSpec(bytes, generate_examples=False, description=description, media_type=media_type)


def told(kind: type[object], description: str, media_type: str = "application/json") -> ResponseSpec:
    """Describe a body of JSON, or what else is made of such values."""
    return ResponseSpec(kind, generate_examples=False, description=description, media_type=media_type)


PAGE = ResponseSpec(None, description="The job's page is elsewhere: a browser's form is answered so")
UNCHANGED = ResponseSpec(None, description="It is what the client has already")
