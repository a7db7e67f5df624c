"""One job as its sender remembers it, and how it is spelt on the wire."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.chaos.hooks import Hook
from tests.chaos.photos import Photo

Way = Literal["form", "repeated", "filled", "aborted", "deleted", "cancelled", "retried"]
WAYS: Sequence[Way] = ("form",) * 4 + (
    "repeated",
    "filled",
    "filled",
    "aborted",
    "deleted",
    "cancelled",
    "retried",
)
_MARK: list[dict[str, object]] = [{"operation": "watermark", "text": "© chaos"}]


@dataclass
class Sent:
    """One job as its sender remembers it."""

    number: int
    way: Way
    photos: list[Photo]
    key: str
    recipe: list[dict[str, object]] = field(default_factory=lambda: _MARK)
    code: str = ""
    """What every good photo must fail with; nothing when it must be done."""
    url: str = ""
    accepted_at: float = 0.0
    """When the 202 was read that says that all of it is accepted; 0 before."""
    version: int = 0
    state: str = "sent"
    """sent, accepted, complete, checked, unread (its links died first), deleted, aborted, refused"""
    hook: Hook | None = None
    job: str = ""
    """What a webhook's messages call it."""
    rounds: int = 0
    """How many it went through after the first, by retries."""
    cancelled: set[int] = field(default_factory=set)
    """Photos that may have been cancelled instead of done."""
    expires_at: float = 0.0
    """When its links die, by `time.time`; 0 while that is unknown."""
    buried: bool = False
    """Whether it was seen that its links are dead."""
    results: dict[int, tuple[str, str]] = field(default_factory=dict)
    """ETag and digest of each result as it was read first."""

    @property
    def token(self) -> str:
        """What must be in no log and no message."""
        return self.url.rpartition("/")[2]

    @property
    def fields(self) -> dict[str, str]:
        """What its form says beside its files."""
        return {
            "recipe": json.dumps({"operations": self.recipe}),
            **(self.hook.fields() if self.hook else {}),
        }

    def multipart(self) -> bytes:
        """Return its form, with the boundary `chaos`."""
        parts = [
            b'--chaos\r\ncontent-disposition: form-data; name="files"; filename="'
            + photo.name.encode()
            + b'"\r\ncontent-type: image/jpeg\r\n\r\n'
            + photo.content
            + b"\r\n"
            for photo in self.photos
        ]
        parts += [
            f'--chaos\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in self.fields.items()
        ]
        return b"".join([*parts, b"--chaos--\r\n"])
