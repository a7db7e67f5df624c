"""Where what a panel shows is no longer well, as the one place that spells it says: a rule, or a setting."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

SETTINGS: Mapping[str, float] = {
    "EBBMARK_HTTP_BACKLOG": 20_000,
    "EBBMARK_HTTP_DOWNLOADS": 64,
    "EBBMARK_HTTP_UPLOADS": 200,
    "EBBMARK_HTTP_WATCHERS": 1000,
    "EBBMARK_JANITOR_SWEEP": 2,
    "EBBMARK_JOB_DEADLINE": 1800,
    "EBBMARK_JOB_GRACE": 120,
    "EBBMARK_LEDGER_CONNECTIONS": 8,
    "EBBMARK_PREVIEW_TIMEOUT": 10,
    "EBBMARK_WORKER_CHILD_TIMEOUT": 45,
}
"""What these are by default, durations in seconds: settings are of a layer above, so a test compares them."""
MAX_CONNECTIONS = 200
"""Of PostgreSQL, as Compose and the local stack start it; a test compares them."""
ANY = 1e-6
"""For the rate of what should not be at all: anything above zero."""


@cache
def _expressions() -> Mapping[str, str]:
    text = (Path(__file__).parents[1] / "prometheus" / "rules.yml").read_text("utf-8")
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    return {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules}


def number(rule: str, pattern: str) -> float:
    """Return the one number that the pattern finds in a rule's expression."""
    (found,) = set(re.findall(pattern, _expressions()[rule]))
    return float(found)


def bound(alert: str) -> float:
    """Return the number that an alert compares with."""
    return number(alert, r"(?:[<>]|!=) ([\d.]+)")


def budget(promise: str) -> float:
    """Return the part that may break a promise; `promise` is the alert for those who break it fast."""
    return number(promise, r"> 14\.4 \* ([\d.]+)")


def kept(promise: str) -> float:
    """Return the part that keeps it."""
    return 1 - budget(promise)


def pace(alert: str) -> float:
    """Return how fast a budget is used up when an alert of a promise fires, times the even pace."""
    return number(alert, r":ratio\w+ > ([\d.]+) \*")


ACCEPTED_WITHIN = number("ebbmark:accept_late:ratio5m", r'le="([\d.]+)"')
RESULT_WITHIN = number("ebbmark:late_results:ratio5m", r'le="([\d.]+)"')
DELETION_LATE = number("ebbmark:deletion_late", r"- (\d+), 0")
"""Seconds; the last is counted from the end of a job's grace."""
