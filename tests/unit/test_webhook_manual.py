"""What the manual for receivers says is what is sent."""

import time
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import msgspec

from ebbmark.ledger.deliveries import Attempt, Webhook
from ebbmark.settings import Webhook as WebhookSettings
from ebbmark.webhooks import Rules, new_secret, show_secret, signed_headers
from ingest.uploads import Fields
from ingest.webhooks import wish_of
from processors.courier import OUTCOMES
from processors.notifier import message
from tests.unit.test_documents import blocks, commands, section, tables


def test_every_outcome_of_a_delivery_has_its_line_and_says_the_same() -> None:
    *_, table = tables(section("docs/webhooks.md", "## Answering"))
    assert {row[0].strip("`"): row[1] for row in table} == dict(OUTCOMES)


def test_the_webhook_s_curl_example_is_a_form_that_is_accepted() -> None:
    (line,) = commands("docs/webhooks.md", "curl")
    given = dict(line[at + 1].split("=", 1) for at, each in enumerate(line) if each == "-F")
    wish = wish_of(
        Fields(values={name: [value] for name, value in given.items()}), Rules.of(WebhookSettings())
    )
    assert wish is not None
    assert (wish.url, wish.reference) == (given["webhook"], given["webhook_reference"])


def test_the_manual_s_message_is_what_is_sent() -> None:
    shown = msgspec.json.decode(blocks("docs/webhooks.md", "json")[0])
    data = shown["data"]
    times = {name: datetime.fromisoformat(data[name]) for name in data if name.endswith("_at")}
    counts = {name: data[name] for name in ("epoch", "total", "done", "failed")}
    attempt = Attempt(
        job=UUID(data["job"]),
        event="",
        kind=shown["type"],
        number=1,
        failures=0,
        occurred_at=datetime.fromisoformat(shown["timestamp"]),
        webhook=Webhook(url="", secret=b"", reference=data["reference"]),
        **counts,
        **times,
    )
    assert message(attempt) == msgspec.json.encode(shown)


def test_the_manual_s_receiver_knows_our_messages_from_others() -> None:
    names: dict[str, Callable[[str, dict[str, str], bytes], bool]] = {}
    exec(blocks("docs/webhooks.md", "python")[0], names)  # noqa: S102 - our own document
    verify, secret = names["verify"], new_secret()
    now = int(time.time())
    assert verify(show_secret(secret), signed_headers(secret, "evt_1", now, b"{}"), b"{}")
    assert not verify(show_secret(secret), signed_headers(secret, "evt_1", now, b"{}"), b"{ }")
    assert not verify(show_secret(secret), signed_headers(secret, "evt_1", now - 400, b"{}"), b"{}")
    assert not verify(show_secret(new_secret()), signed_headers(secret, "evt_1", now, b"{}"), b"{}")
