"""Receipts: what became of a job's photos, for whoever had its link, until the tombstone goes."""

import re
from collections.abc import Sequence

import msgspec
from litestar import Response, get
from litestar.handlers import BaseRouteHandler

from ebbmark.errors import Rejected
from ebbmark.ledger.proofs import ReceiptRow
from ebbmark.states import LIVE_JOB_STATES, JobState
from ingest import pages, schemas
from ingest.answers import problems, told
from ingest.problems import wants_page
from ingest.services import TEXT_PAGE, AnyRequest, Services
from ingest.tokens import token_hash

_SHAPE = re.compile(r"[\w-]{22}", re.ASCII)


@get(
    "/receipts/{receipt_id:str}",
    summary="What became of a job's photos",
    responses={200: told(schemas.Receipt, "The receipt"), **problems(400, 404, about="receipt")},
    tags=["jobs"],
)
async def read_receipt(request: AnyRequest, services: Services, receipt_id: str) -> Response[bytes]:
    """Tell what was deleted and when, and how that was verified, or that it is not yet.

    The job's status names its receipt, which is kept for 30 days. It holds counts and times only.
    """
    row = None
    if _SHAPE.fullmatch(receipt_id):
        row = await services.ledger.proofs.receipt(token_hash(receipt_id))
    if row is None:
        raise Rejected("unknown-receipt", "There is no receipt with this id, or it is older than its time.")
    body = msgspec.json.encode(_receipt(receipt_id, row))
    headers = {"vary": "accept", "cache-control": "private, no-store", "x-robots-tag": "noindex"}
    if wants_page(request):
        headers["content-security-policy"] = pages.CSP
        page = pages.receipt_page(msgspec.json.decode(body))
        return Response(page.encode(), media_type=TEXT_PAGE, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _receipt(receipt_id: str, row: ReceiptRow) -> schemas.Receipt:
    living = row.state in LIVE_JOB_STATES and (row.expires_at is None or row.expires_at > row.now)
    if living:
        state = schemas.ReceiptState.LIVING
    elif row.state is not JobState.EXPIRED:
        state = schemas.ReceiptState.ENDING
    elif row.verified_at is None:
        state = schemas.ReceiptState.DELETED
    else:
        state = schemas.ReceiptState.VERIFIED
    return schemas.Receipt(
        receipt_id=receipt_id,
        state=state,
        created_at=row.created_at,
        completed_at=row.completed_at,
        links_die_at=row.expires_at,
        deleted_at=row.expired_at,
        verified_at=row.verified_at,
        audited_at=row.audited_at,
        originals=row.deleted.originals,
        results=row.deleted.results,
        objects=row.deleted.objects,
        bytes=row.deleted.bytes,
        server_time=row.now,
    )


RECEIPT_ROUTES: Sequence[BaseRouteHandler] = (read_receipt,)
