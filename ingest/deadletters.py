"""Dead letters over HTTP: anybody may count them, operators see, redrive and resolve them."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from ebbmark.errors import Rejected
from ebbmark.ledger.letters import LetterRow, LetterState, Selection
from ingest import letters, pages
from ingest.answers import OPERATOR, problems, told
from ingest.apidocs import RedriveOperation
from ingest.operators import Operators, operators_only
from ingest.redrive import REFUSED, Redriver, require_one_choice
from ingest.services import TEXT_PAGE, AnyRequest, Services, same_site_only
from ingest.tally import Tally
from ingest.uploads import Patience, small_body
from observability import logs

log = logs.get(__name__)

_PROBLEMS = problems(*OPERATOR)
_ONE_PROBLEMS = problems(*OPERATOR, 404, about="letter")
_WISH_BYTES = 16 * 1024
_PRIVATE = {"cache-control": "private, no-store"}


@get("/dlq/stats", summary="How many dead letters there are", responses=problems(), tags=["dead letters"])
async def count_letters(tally: Tally) -> Response[letters.Stats]:
    """Count dead letters by reason and state, as of some seconds ago; needs no token, and names no job."""
    return Response(letters.stats(await tally.stats()), headers={"cache-control": "no-store"})


@get(
    "/dlq",
    guards=[operators_only],
    summary="List dead letters",
    responses={200: told(letters.Page, "Some of them"), **_PROBLEMS},
    security=[{"operator": []}],
    tags=["dead letters"],
)
async def list_letters(
    services: Services,
    *,
    reason: str | None = None,
    job: UUID | None = None,
    standing: Annotated[LetterState | None, QueryParameter(name="state")] = None,
    cursor: Annotated[int | None, QueryParameter(ge=0, le=2**63 - 1)] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
) -> Response[letters.Page]:
    """List them, the last entered first; the answer's `cursor` goes on from there."""
    if reason is not None and not reason.isprintable():  # the database takes no NUL
        return Response(letters.Page(letters=[], cursor=None), headers=_PRIVATE)
    rows = await services.ledger.letters.find(
        Selection(reason=reason, job=job, state=standing), before=cursor, limit=limit
    )
    page = letters.Page(
        letters=[letters.letter(row) for row in rows],
        cursor=rows[-1].place if len(rows) == limit else None,
    )
    return Response(page, headers=_PRIVATE)


async def _known(services: Services, letter: str) -> LetterRow:
    rows = await services.ledger.letters.find(Selection(ids=[letter]), limit=1) if letter.isalnum() else []
    if not rows:
        raise Rejected("unknown-letter", REFUSED["unknown-letter"])
    return rows[0]


@get(
    "/dlq/{letter:str}",
    guards=[operators_only],
    summary="Inspect a dead letter",
    responses={200: told(letters.Inspected, "The letter"), **_ONE_PROBLEMS},
    security=[{"operator": []}],
    tags=["dead letters"],
)
async def show_letter(services: Services, redriver: Redriver, letter: str) -> Response[letters.Inspected]:
    """Show one letter, the beginning of its message escaped, and whether it can be redriven."""
    row = await _known(services, letter)
    refusal = await redriver.judge(row)
    shown = letters.Inspected(
        letter=letters.letter(row), refusal=refusal, detail=REFUSED[refusal] if refusal else None
    )
    return Response(shown, headers=_PRIVATE)


@post(
    "/dlq/redrive",
    status_code=200,
    guards=[same_site_only, operators_only],
    request_max_body_size=None,
    summary="Redrive dead letters",
    operation_class=RedriveOperation,
    responses={200: told(letters.Answer, "What was done, or would be"), **problems(*OPERATOR, 408, 413, 422)},
    security=[{"operator": []}],
    tags=["dead letters"],
)
async def redrive_letters(
    request: AnyRequest, services: Services, redriver: Redriver, operators: Operators, tally: Tally
) -> letters.Answer:
    """Send letters round again, for some seconds; with a `cursor` in the answer, ask again with it.

    A photo begins a new round; a message is published anew, as it was. With `dry_run` nothing is done.
    """
    http = services.settings.http
    patience = Patience(http.chunk_timeout, http.chunk_timeout, http.upload_rate)
    body = await small_body(request, patience, most=_WISH_BYTES)
    try:
        wish = msgspec.json.decode(body, type=letters.Wish)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Rejected("invalid-redrive", f"This does not say which letters to redrive. {exc}.") from exc
    require_one_choice(wish)
    try:
        done = await redriver.redrive(wish, who=operators.name)
    finally:
        tally.doubt()
    outcomes = [
        letters.Outcome(
            id=each.id,
            reason=each.row.reason if each.row else None,
            topic=each.row.topic if each.row else None,
            job=each.row.job if each.row else None,
            n=each.row.n if each.row else None,
            refusal=each.refusal,
            detail=REFUSED[each.refusal] if each.refusal else None,
        )
        for each in done.verdicts
    ]
    refused = sum(each.refusal is not None for each in done.verdicts)
    return letters.Answer(
        dry_run=wish.dry_run,
        redriven=len(outcomes) - refused,
        refused=refused,
        outcomes=outcomes,
        cursor=done.cursor,
    )


@post(
    "/dlq/{letter:str}/resolve",
    status_code=200,
    guards=[same_site_only, operators_only],
    summary="Say that a dead letter needs no more",
    responses={200: told(letters.Letter, "The letter"), **_ONE_PROBLEMS},
    security=[{"operator": []}],
    tags=["dead letters"],
)
async def resolve_letter(
    services: Services, operators: Operators, tally: Tally, letter: str
) -> letters.Letter:
    """Close it without redriving it; repeating that is harmless."""
    row = await _known(services, letter)
    await services.ledger.letters.resolve(row.id)
    tally.doubt()
    log.info("dead letter resolved", who=operators.name, letter=row.id)
    return letters.letter(await _known(services, letter))


@get("/operator/dead-letters", include_in_schema=False)
async def letters_page() -> Response[bytes]:
    """Show the operators' page: it holds nothing until somebody types the token in."""
    return Response(
        pages.letters_page().encode(),
        media_type=TEXT_PAGE,
        headers={"content-security-policy": pages.CSP, "cache-control": "no-store"},
    )


LETTER_ROUTES: Sequence[BaseRouteHandler] = (
    count_letters,
    list_letters,
    show_letter,
    redrive_letters,
    resolve_letter,
    letters_page,
)
