"""Receivers of webhooks in a run: some answer badly at first; what they were told is checked at its end."""

import base64
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from types import TracebackType
from typing import Self

import msgspec

from ebbmark.settings import Webhook
from tests.receivers import Receiver, hang_up, status

INSIDE = "/inside"
"""Where redirects lead; nobody may come here."""
_S = timedelta(seconds=1)
_FORBIDDEN = "127.0.0.2"
_MAY_BE_LATE = 0.05
"""Share of the jobs whose links may die before their completion was told; then their end is told."""


@dataclass(frozen=True)
class Hook:
    """Whom a job tells, and with what its messages are signed."""

    path: str
    url: str
    secret: str
    reference: str

    def fields(self) -> dict[str, str]:
        """Return what the form says of it."""
        return {
            "webhook": self.url,
            "webhook_secret": self.secret,
            "webhook_reference": self.reference,
        }


@dataclass(frozen=True)
class Due:
    """A job as its sender knows it, whose end must have been told."""

    hook: Hook
    job: str
    """What messages call it."""
    total: int
    rounds: int
    """How many it went through after the first; the completion of the last must have been told."""


class Hooks:
    """A receiver that is allowed, and a second one on an address that is not."""

    def __init__(self, *, seed: int) -> None:
        """Equal seeds make equal hooks, but for the port."""
        self.receiver = Receiver()
        self.forbidden = Receiver(_FORBIDDEN, self.receiver.port)
        self._rng = Random(seed)
        self._hooks: dict[str, Hook] = {}
        self.redirects = 0
        """Paths that answer with a redirect at first."""

    def __enter__(self) -> Self:
        self.receiver.__enter__()
        self.forbidden.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.forbidden.__exit__(kind, error, trace)
        self.receiver.__exit__(kind, error, trace)

    def allowed(self, settings: Webhook) -> Webhook:
        """Return settings that allow the one receiver, and try again within seconds."""
        return msgspec.structs.replace(
            settings,
            allow_http=True,
            networks="127.0.0.1/32",
            ports=str(self.receiver.port),
            timeout=2 * _S,
            first_wait=_S / 2,
            longest_wait=2 * _S,
            farewell=20 * _S,
        )

    def forbidden_url(self) -> str:
        """Return an address that a door must refuse."""
        return self.forbidden.url(INSIDE, _FORBIDDEN)

    def new(self, label: str) -> Hook:
        """Make one: three in ten receivers fail at first, one of them by a redirect."""
        path = f"/hook/{label}"
        secret = "whsec_" + base64.b64encode(self._rng.randbytes(32)).decode()
        hook = Hook(path, self.receiver.url(path), secret, f"order {label}")
        chance = self._rng.random()
        if chance < 0.1:
            self.redirects += 1
            away = status(307, location=self.receiver.url(INSIDE))
            self.receiver.scripts[path] = [away, status(200)]
        elif chance < 0.3:
            self.receiver.scripts[path] = [self._rng.choice([status(500), hang_up]), status(200)]
        self._hooks[path] = hook
        return hook

    def against(self, due: Iterable[Due]) -> list[str]:
        """Say what was told wrongly, and which ends were told to nobody."""
        due = list(due)
        found, told = self._read({each.hook.path: each for each in due})
        late: list[str] = []
        for each in due:
            kinds = told[each.hook.path]
            if ("job.completed", each.rounds) not in kinds:
                ended = any(kind == "job.expired" for kind, _ in kinds)
                (late if ended else found).append(f"{each.hook.path}: its completion was not told")
        if len(late) > max(2, _MAY_BE_LATE * len(due)):
            found += late
        return found

    def _read(self, due: dict[str, Due]) -> tuple[list[str], defaultdict[str, set[tuple[str, int]]]]:
        """Check every message; return what is wrong, and what each path was told of which round."""
        found: list[str] = []
        told: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
        for message in [*self.receiver.seen, *self.forbidden.seen]:
            hook = self._hooks.get(message.path)
            if hook is None:
                found.append(f"{message.path} was told something")
                continue
            try:
                body = message.verified(hook.secret)
            except (AssertionError, KeyError, ValueError):
                found.append(f"{hook.path}: the signature is wrong")
                continue
            data, job = body["data"], due.get(hook.path)
            if data["reference"] != hook.reference:
                found.append(f"{hook.path}: told of another's job")
            if job is not None and (data["job"], data["total"]) != (job.job, job.total):
                found.append(f"{hook.path}: told of {data['total']} photos of {data['job']}")
            if body["type"] == "job.completed" and data["done"] + data["failed"] != data["total"]:
                found.append(f"{hook.path}: told complete with {data['done']} and {data['failed']}")
            told[hook.path].add((body["type"], data["epoch"]))
        return found, told

    def strayed(self) -> Sequence[str]:
        """Say which messages came where none may come."""
        inside = [f"a redirect was followed to {each.path}" for each in self.receiver.at(INSIDE)]
        return inside + [f"a forbidden address was told at {each.path}" for each in self.forbidden.seen]
