"""Every failure becomes an RFC 9457 problem here, and only here does it get its HTTP status."""

from http import HTTPStatus
from math import ceil

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException

from ebbmark.errors import Conflict, EbbmarkError, LimitExceeded, Rejected, Unavailable
from ingest import pages
from ingest.conditions import OutOfRange
from ingest.schemas import Problem
from ingest.tokens import receipt_id
from ingest.uploads import Aborted
from observability import logs

log = logs.get(__name__)

STATUS_BY_CODE = {
    "unknown-job": 404,
    "unknown-photo": 404,
    "unknown-event": 404,
    "unknown-letter": 404,
    "operator-token-unset": 403,
    "operator-token-wrong": 401,
    "unknown-receipt": 404,
    "job-expired": 410,
    "job-not-complete": 409,
    "cross-site": 403,
    "idempotency-key-reused": 422,
    "upload-too-slow": 408,
    "upload-deadline": 408,
    "unsupported-format": 415,
    "not-multipart": 415,
    "malformed-form": 400,
    "too-many-uploads": 429,
    "too-many-watchers": 429,
    "too-many-jobs": 429,
    "too-many-previews": 429,
    "too-many-connections": 429,
    "too-many-attempts": 429,
    "range-not-satisfiable": 416,
    "head-too-large": 431,
}
"""Where the kind of error alone does not say it."""

_RETRY_AFTER = {429: "2", 503: "5"}

SAFETY = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # without any, forms say `Origin: null`, as other sites' may
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""Headers that no answer lacks."""

AnyRequest = Request[object, object, State]


def status_of(error: EbbmarkError) -> int:
    """Return the HTTP status that says what the error says."""
    by_code = STATUS_BY_CODE.get(error.code)
    if by_code is not None:
        return by_code
    if isinstance(error, Unavailable):
        return 503
    if isinstance(error, Conflict):
        return 409
    if isinstance(error, LimitExceeded):
        return 413
    return 422


def on_error(request: AnyRequest, error: EbbmarkError) -> Response[bytes]:
    """Answer one of our own errors."""
    if not isinstance(error, Rejected | Unavailable | Aborted):
        log.error("unexpected error", code=error.code)
        return _answer(request, 500, "internal-error", "Something went wrong on our side.")
    if isinstance(error, Aborted):
        return _answer(request, 499, error.code, error.detail)
    response = _answer(request, status_of(error), error.code, error.detail)
    if isinstance(error, OutOfRange):
        response.headers["content-range"] = f"bytes */{error.size}"
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        response.headers["www-authenticate"] = "Bearer"
    if error.retry_after is not None:
        response.headers["retry-after"] = str(max(1, ceil(error.retry_after)))
    return response


def on_http_exception(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """Answer what the framework refuses: unknown routes, wrong methods, bodies it cannot read."""
    status = error.status_code
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return on_exception(request, error)
    codes = {
        404: "not-found",
        405: "method-not-allowed",
        413: "body-too-large",
        415: "unsupported-media-type",
    }
    detail = error.detail if status == HTTPStatus.BAD_REQUEST else HTTPStatus(status).phrase
    response = _answer(request, status, codes.get(status, "bad-request"), str(detail))
    if error.headers:
        response.headers.update(error.headers)
    return response


def on_exception(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Answer what nobody foresaw, and log it."""
    log.error("unexpected exception", exc_info=error)
    return _answer(request, 500, "internal-error", "Something went wrong on our side.")


def unasked(error: EbbmarkError) -> bytes:
    """Return an answer, from its first byte to its last, to what is not read as far as to be a request."""
    status = status_of(error)
    body = _problem(status, error.code, error.detail)
    headers = (
        *SAFETY,
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    )
    line = b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode())
    return line + b"".join(b"%s: %s\r\n" % each for each in headers) + b"\r\n" + body


def wants_page(request: AnyRequest) -> bool:
    """Return whether a person's browser asks, not a program."""
    return "text/html" in request.headers.get("accept", "")


def _receipt_url(request: AnyRequest) -> str | None:
    """Return where to ask what became of the job that the address names, whether it ever was or not."""
    public_id = request.path_params.get("public_id")
    return f"/receipts/{receipt_id(public_id)}" if isinstance(public_id, str) else None


def _answer(request: AnyRequest, status: int, code: str, detail: str) -> Response[bytes]:
    headers = {"retry-after": _RETRY_AFTER[status]} if status in _RETRY_AFTER else {}
    if wants_page(request):
        if code in {"unknown-job", "job-expired"}:
            page = pages.gone_page("expired" if code == "job-expired" else "unknown", _receipt_url(request))
        else:
            of_form = request.method == "POST" and request.url.path in {"/jobs", "/upload"}
            page = pages.problem_page(status, _title(status), detail, code, of_form=of_form)
        headers["content-security-policy"] = pages.CSP
        return Response(page.encode(), status_code=status, media_type="text/html", headers=headers)
    return Response(
        _problem(status, code, detail),
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )


def _problem(status: int, code: str, detail: str) -> bytes:
    return msgspec.json.encode(
        Problem(
            type=f"urn:ebbmark:problem:{code}", title=_title(status), status=status, detail=detail, code=code
        )
    )


def _title(status: int) -> str:
    return "Client Closed Request" if status == 499 else HTTPStatus(status).phrase
