"""Operators show a token with each request; it is compared in constant time, and never logged."""

import hashlib
import hmac

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler

from ebbmark.errors import Rejected

_SCHEME = "bearer"


class Operators:
    """Who may look after the system: whoever has the token, nobody while there is none."""

    def __init__(self, token: str) -> None:
        """Keep a digest; digests are as long as each other, so a comparison tells nothing of the token."""
        self._digest = _digest(token) if token else None

    @property
    def name(self) -> str:
        """Return what the audit lines call the holder of the token: a few digits of its digest."""
        return self._digest.hex()[:8] if self._digest else ""

    def admit(self, authorization: str) -> None:
        """Return when the header shows the token.

        Raises:
            Rejected: code `operator-token-unset` or `operator-token-wrong`.
        """
        if self._digest is None:
            raise Rejected(
                "operator-token-unset", "No operator token is set, so this is closed: EBBMARK_OPERATOR_TOKEN."
            )
        scheme, _, token = authorization.partition(" ")
        shown = _digest(token.strip())
        if not hmac.compare_digest(shown, self._digest) or scheme.lower() != _SCHEME:
            raise Rejected("operator-token-wrong", "Show the operator token: Authorization: Bearer …")


def _digest(token: str) -> bytes:
    return hashlib.sha256(b"operator:" + token.encode("utf-8", "surrogatepass")).digest()


def operators_only(connection: ASGIConnection[object, object, object, State], _: BaseRouteHandler) -> None:
    """Refuse whoever does not show the token, before the body is read. Raises `Rejected`."""
    operators: Operators = connection.app.state.operators
    operators.admit(connection.headers.get("authorization", ""))
