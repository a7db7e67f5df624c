"""Operators show a token with each request: compared in constant time, never logged, seldom guessed."""

import hashlib
import hmac

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler

from ebbmark.errors import Rejected
from ingest.clients import Rate, client_key

_SCHEME = "bearer"


class Operators:
    """Who may look after the system: whoever has the token, nobody while there is none."""

    def __init__(self, token: str, attempts: Rate) -> None:
        """Keep a digest; digests are as long as each other, so a comparison tells nothing of the token.

        Of `attempts` each wrong token spends one.
        """
        self._digest = _digest(token) if token else None
        self._attempts = attempts

    @property
    def name(self) -> str:
        """Return what the audit lines call the holder of the token: a few digits of its digest."""
        return self._digest.hex()[:8] if self._digest else ""

    def admit(self, authorization: str, client: str) -> None:
        """Return when the header shows the token.

        A client that has shown too many wrong ones is refused whatever it shows, so a guess that is refused
        tells it nothing. Who shows none guesses nothing, and is not counted: any site's page can make a
        browser ask so, and would lock out the operator behind it.

        Raises:
            Rejected: code `operator-token-unset` or `operator-token-wrong`.
            LimitExceeded: too many wrong tokens came from the client, code `too-many-attempts`.
        """
        if self._digest is None:
            raise Rejected(
                "operator-token-unset", "No operator token is set, so this is closed: EBBMARK_OPERATOR_TOKEN."
            )
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if token and scheme.lower() == _SCHEME:
            self._attempts.require(client)
            if hmac.compare_digest(_digest(token), self._digest):
                return
            self._attempts.spend(client)
        raise Rejected("operator-token-wrong", "Show the operator token: Authorization: Bearer …")


def _digest(token: str) -> bytes:
    return hashlib.sha256(b"operator:" + token.encode("utf-8", "surrogatepass")).digest()


def operators_only(connection: ASGIConnection[object, object, object, State], _: BaseRouteHandler) -> None:
    """Refuse whoever does not show the token, before the body is read. Raises as `admit`."""
    operators: Operators = connection.app.state.operators
    host = connection.client.host if connection.client else None
    operators.admit(connection.headers.get("authorization", ""), client_key(host))
