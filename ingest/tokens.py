"""A job's public id is a random token; nothing that is stored can be turned back into it."""

import base64
import hashlib
import secrets
from uuid import UUID

TOKEN_BYTES = 16


def new_token() -> bytes:
    """Return 128 random bits."""
    return secrets.token_bytes(TOKEN_BYTES)


def token_hash(public_id: str) -> bytes:
    """Return what the ledger keeps of a public id."""
    return hashlib.sha256(public_id.encode("utf-8", "surrogatepass")).digest()


def receipt_id(public_id: str) -> str:
    """Return the id of the job's receipt: who has the job has it, and it does not lead back."""
    return encode(
        hashlib.sha256(b"receipt:" + public_id.encode("utf-8", "surrogatepass")).digest()[:TOKEN_BYTES]
    )


def idempotency_hash(key: str) -> bytes:
    """Return what the ledger keeps of an Idempotency-Key."""
    return hashlib.sha256(b"idempotency:" + key.encode()).digest()


def seal_token(token: bytes, key: str, job: UUID) -> bytes:
    """Return the token such that only who knows the Idempotency-Key can read it; its own inverse."""
    pad = hashlib.sha256(b"token:" + job.bytes + key.encode()).digest()[:TOKEN_BYTES]
    return bytes(a ^ b for a, b in zip(token, pad, strict=True))


def encode(token: bytes) -> str:
    """Return the token as it stands in a link: 22 characters that need no quoting."""
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()
