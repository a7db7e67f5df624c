"""What a sender says about its webhook, in the fields of the form that opens the job."""

import hashlib

from msgspec import Struct

from ebbmark.errors import Rejected
from ebbmark.ledger.deliveries import Webhook
from ebbmark.webhooks import Rules, new_secret, parse_secret
from ingest.uploads import Fields

FIELDS = ("webhook", "webhook_secret", "webhook_reference")
_LONGEST_REFERENCE = 200


class Wish(Struct, frozen=True):
    """Whom the sender wants told; `secret` is None when one shall be made."""

    url: str
    secret: bytes | None
    reference: str | None

    def webhook(self) -> Webhook:
        """Return what the ledger shall note."""
        return Webhook(url=self.url, secret=self.secret or new_secret(), reference=self.reference)

    def marked(self, fingerprint: bytes) -> bytes:
        """Return the fingerprint of a request that also has this wish."""
        parts = (fingerprint, self.url.encode(), self.secret or b"", (self.reference or "").encode())
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()

    def __repr__(self) -> str:
        """Show nothing: all of it is the sender's own."""
        return "Wish()"


def wish_of(fields: Fields, rules: Rules) -> Wish | None:
    """Return whom the form wants told, or None.

    Raises:
        Rejected: code `invalid-webhook`; the address, the secret or the reference is not as it must be.
    """
    url, secret, reference = (fields.first(name) or "" for name in FIELDS)
    if not url:
        if secret or reference:
            raise Rejected("invalid-webhook", "A webhook_secret or webhook_reference needs a webhook.")
        return None
    rules.target(url)
    if len(reference) > _LONGEST_REFERENCE or not reference.isprintable():
        raise Rejected(
            "invalid-webhook", f"A webhook_reference is at most {_LONGEST_REFERENCE} printable characters."
        )
    return Wish(url, parse_secret(secret) if secret else None, reference or None)
