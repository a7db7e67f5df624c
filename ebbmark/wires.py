"""A wire to Kafka that was cut a moment ago is told to aiokafka in words it knows.

It writes to a connection until it has heard that it is closed. asyncio drops what is written then, and uvloop
raises `RuntimeError`, for which aiokafka is not prepared: a commit in that moment ended the consumer, and
with it the process.
"""

import functools
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

__all__ = ["mend"]

_send: Any = AIOKafkaConnection.send


@functools.wraps(_send)
def _told(connection: AIOKafkaConnection, *args: object, **kwargs: object) -> Any:  # noqa: ANN401 - its own
    try:
        return _send(connection, *args, **kwargs)
    except RuntimeError as exc:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection broken: {exc}") from exc


def mend() -> None:
    """Have every connection of this process tell it so; to repeat it is harmless."""
    setattr(AIOKafkaConnection, "send", _told)  # noqa: B010 - its own signature is nobody's business here
