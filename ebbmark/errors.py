"""Every failure that crosses a boundary is one of these kinds, each with a stable code.

EbbmarkError
├── Rejected          the sender's fault; never retried (HTTP 4xx, or a failed photo)
│   ├── LimitExceeded     it outran a limit: bytes, pixels, time or memory
│   └── Conflict          it contradicts what the ledger already holds
├── Unavailable       a dependency's fault; retried (HTTP 503 + Retry-After)
│   └── Missing           the store does not hold what the ledger points to
└── MalformedEvent    a message nobody can read; dead-lettered
"""

from typing import Self

__all__ = [
    "Conflict",
    "EbbmarkError",
    "LimitExceeded",
    "MalformedEvent",
    "Missing",
    "Rejected",
    "Unavailable",
]


class EbbmarkError(Exception):
    """A failure with a stable `code` for programs and a `detail` sentence for people.

    `detail` never carries a file name, a token or any other user string that must not reach a log.
    """

    def __init__(self, code: str, detail: str, *, retry_after: float | None = None) -> None:
        """Keep the words in `args`, so that the error survives pickling out of a child process.

        `retry_after` says in how many seconds it may be different, where that is known.
        """
        super().__init__(code, detail)
        self.code: str = code
        self.detail: str = detail
        self.retry_after: float | None = retry_after

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (self.code, self.detail)


class Rejected(EbbmarkError):
    """What was sent is wrong; sending it again cannot help."""


class LimitExceeded(Rejected):
    """What was sent outran a limit of bytes, pixels, time or memory."""


class Conflict(Rejected):
    """What was sent contradicts what is already there."""


class Unavailable(EbbmarkError):
    """A dependency did not answer; nothing is wrong with the request and it may be repeated."""


class Missing(Unavailable):
    """An object is not in the store: not yet, or deleted a moment ago."""


class MalformedEvent(EbbmarkError):
    """A message on a topic cannot be decoded as the event it should be."""
