"""The log of a job's webhook, and the way to have a message sent again."""

from collections.abc import Sequence

from litestar import Response, get, post
from litestar.handlers import BaseRouteHandler

from ebbmark.errors import Rejected
from ingest import schemas
from ingest.answers import JOB, problems, told
from ingest.services import Services, same_site_only


@get(
    "/jobs/{public_id:str}/deliveries",
    summary="What the webhook was told",
    responses={200: told(schemas.DeliveryLog, "The log"), **problems(*JOB)},
    tags=["webhooks"],
)
async def list_deliveries(services: Services, public_id: str) -> Response[schemas.DeliveryLog]:
    """List the job's events with what became of each; empty when there is no webhook, or no event yet."""
    job = (await services.watch.look(public_id)).snapshot.job.id
    rows = await services.ledger.deliveries.log(job)
    log = schemas.DeliveryLog(job=job, deliveries=[schemas.delivery(public_id, row) for row in rows])
    return Response(log, headers={"cache-control": "private, no-store"})


@post(
    "/jobs/{public_id:str}/deliveries/{event:str}/replay",
    status_code=202,
    guards=[same_site_only],
    summary="Tell the webhook again",
    responses={202: told(schemas.Delivery, "It is due again"), **problems(*JOB, 403, about="job or event")},
    tags=["webhooks"],
)
async def replay_delivery(services: Services, public_id: str, event: str) -> schemas.Delivery:
    """Have the event sent again within seconds, under its old id, whether it was delivered or not."""
    job = (await services.watch.look(public_id)).snapshot.job.id
    # The database takes no text with a NUL or half a character in it.
    row = await services.ledger.deliveries.replay(job, event) if event.isprintable() else None
    if row is None:
        raise Rejected("unknown-event", "Nothing of this id was to be told of this job.")
    return schemas.delivery(public_id, row)


DELIVERY_ROUTES: Sequence[BaseRouteHandler] = (list_deliveries, replay_delivery)
