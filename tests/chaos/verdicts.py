"""A verdict, and what is needed to reach one from rows, logs and files."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec


@dataclass(frozen=True)
class Verdict:
    """What was asked of the system, how much was looked at, and what was found against it."""

    invariant: str
    claim: str
    looked_at: int
    violations: Sequence[str]

    def __str__(self) -> str:
        outcome = f"VIOLATED {len(self.violations)}×" if self.violations else "holds"
        return f"{self.invariant:<4} {outcome:<12} {self.looked_at:>7}  {self.claim}"


def stays(before: tuple[Any, ...], now: tuple[Any, ...] | None) -> bool:
    """Return whether the photo is as it ended, or failed and began another round; (epoch, state, …)."""
    return now == before or (now is not None and before[1] == "failed" and now[0] > before[0])


def said_by(logs: Path, name: str) -> bytes:
    """Return what a process has said, also what its file was too long for."""
    return b"".join(path.read_bytes() for path in sorted(logs.glob(f"{name}.log*"), reverse=True))


def lines(log: bytes) -> Iterator[dict[str, Any]]:
    """Yield what was said in our own words; not by the time of it, as clocks are falsified."""
    for line in log.splitlines():
        with suppress(ValueError):  # what libraries say is no JSON
            said = json.loads(line)
            if isinstance(said, dict):
                yield said


def holds(path: Path, text: bytes) -> bool:
    """Return whether the file has this text in it; not when it is gone."""
    try:
        with path.open("rb") as file:
            tail = b""
            while chunk := file.read(4 * 1024**2):
                if text in tail + chunk:
                    return True
                tail = chunk[-len(text) :]
    except OSError:
        return False
    return False


def as_json(verdicts: Sequence[Verdict]) -> Any:  # noqa: ANN401 - JSON
    """Return the verdicts as JSON holds them, at most twenty violations each."""
    return msgspec.to_builtins(
        [
            {
                "invariant": v.invariant,
                "claim": v.claim,
                "looked_at": v.looked_at,
                "violations": len(v.violations),
                "examples": list(v.violations[:20]),
            }
            for v in verdicts
        ]
    )
