"""What owners of jobs do besides sending: preview, cancel, retry, and ask for what must be gone."""

import asyncio
import io
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import httpx
from PIL import Image

from tests.chaos.sent import Sent

if TYPE_CHECKING:  # the client has ways of sending that end here
    from tests.chaos.client import Client

DATED: list[dict[str, object]] = [{"operation": "watermark", "text": "{exif.date}"}]
"""A mark of what our photos do not say: all of them fail, until they are retried with other words."""
NO_DATE = "nothing-to-write"
_MARK: list[dict[str, object]] = [{"operation": "watermark", "text": "© chaos"}]
_OVER = 0.5
"""Seconds after the death of its links at which a job is asked for."""
_GONE = {404, 410}


async def _first_photo(client: "Client", sent: Sent, path: str, **fields: str) -> httpx.Response:
    """Send the first photo in a form."""
    files = [("files", (sent.photos[0].name, sent.photos[0].content))]
    return await client.ask(lambda: client.http.post(path, files=files, data=fields))


async def preview(client: "Client", sent: Sent) -> None:
    """Ask how the first photo will look; the picture must be as large as it says."""
    answer = await _first_photo(client, sent, "/preview", operations="watermark", text="© chaos")
    if answer.status_code != 200:
        return client.against("I5", f"job {sent.number}: its preview was answered {answer.status_code}")
    with Image.open(io.BytesIO(answer.content)) as shown:
        said = int(answer.headers["x-width"]), int(answer.headers["x-height"])
        if shown.size != said:
            client.against("I5", f"job {sent.number}: a preview of {shown.size} says it is {said}")
    client.counts["previews"] += 1
    return None


async def try_a_forbidden_hook(client: "Client", sent: Sent) -> None:
    """Ask that an address be told which may not be: the door refuses it."""
    answer = await _first_photo(
        client, sent, "/upload", operations="grayscale", webhook=client.hooks.forbidden_url()
    )
    if answer.status_code != 422 or answer.json()["code"] != "invalid-webhook":
        client.against("I19", f"job {sent.number}: a forbidden webhook was answered {answer.status_code}")
    client.counts["forbidden webhooks"] += 1


async def cancel(client: "Client", sent: Sent) -> None:
    """Cancel one photo or all that is left; half of the owners want what they cancelled after all."""
    await client.submit(sent)
    await asyncio.sleep(client.rng.uniform(0, 1.5))
    one = client.rng.randrange(len(sent.photos)) if client.rng.random() < 0.5 else None
    path = f"{sent.url}/cancel" if one is None else f"{sent.url}/photos/{one}/cancel"
    sent.cancelled = set(range(len(sent.photos))) if one is None else {one}
    answer = await client.ask(lambda: client.http.post(path), fine={409})  # 409: it has ended before
    if answer.status_code not in {202, 409, *_GONE}:
        client.against("I1", f"job {sent.number}: cancelling was answered {answer.status_code}")
    client.counts["jobs cancelled" if one is None else "photos cancelled"] += 1
    if not await client.until_complete(sent):
        return None
    status = await client.ask(lambda: client.http.get(sent.url))
    if status.status_code in _GONE:
        return client.unread(sent)
    gone = [row["n"] for row in status.json()["photos"] if row["code"] == "cancelled"]
    if gone and client.rng.random() < 0.5:
        await _again(client, sent, {"photos": gone})
    else:
        sent.cancelled = set(gone)
        await client.read(sent)
    return None


async def retry(client: "Client", sent: Sent) -> None:
    """See every good photo fail for what its mark should say, then retry all with other words."""
    await client.submit(sent)
    if await client.until_complete(sent):
        await _again(client, sent, {"recipe": {"operations": _MARK}})


async def _again(client: "Client", sent: Sent, wish: dict[str, Any]) -> None:
    answer = await client.ask(lambda: client.http.post(f"{sent.url}/retry", json=wish), fine={409})
    if answer.status_code in _GONE:
        return client.unread(sent)
    # 409: an earlier request began the round, its answer was lost, and the round is over.
    if answer.status_code not in {202, 409}:
        client.against(
            "I1", f"job {sent.number}: a retry was answered {answer.status_code} {answer.text[:200]}"
        )
    sent.rounds += 1
    sent.state, sent.code, sent.cancelled, sent.expires_at = "accepted", "", set(), 0.0
    client.counts["jobs retried"] += 1
    return await client.follow(sent)


async def bury_for_ever(client: "Client") -> None:
    """Ask for each job as soon as its links have died."""
    while True:
        await asyncio.sleep(0.5)
        now = time.time()
        over = [
            sent
            for sent in client.log
            if not sent.buried and sent.expires_at and now > sent.expires_at + _OVER
        ]
        await bury(client, over)


async def bury(client: "Client", jobs: Sequence[Sent]) -> None:
    """Ask for these, which are over: nothing may be served any more. Stops when nobody can say."""
    for sent in jobs:
        paths = [sent.url, f"{sent.url}/archive", *(f"{sent.url}/photos/{n}" for n in sent.results)]
        try:
            answers = [await client.http.get(path) for path in paths[:4]]
        except httpx.TransportError:
            return  # there is nobody to ask just now
        client.counts["asked for what is over"] += len(answers)
        statuses = {answer.status_code for answer in answers}
        if served := statuses - _GONE - {503}:
            client.against("I10", f"job {sent.number} is over, and was answered {sorted(served)}")
        if 503 in statuses and not served:
            return
        sent.buried = True
