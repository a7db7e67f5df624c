"""What webhooks were told is held to what is due, and what is wrong is found."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from ebbmark.webhooks import parse_secret, signed_headers
from tests.chaos.hooks import INSIDE, Due, Hook, Hooks

JOB = "7b1f8f2e-0000-4000-8000-000000000001"


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with Hooks(seed=3) as running:
        yield running


@pytest.fixture
def hook(hooks: Hooks) -> Hook:
    return hooks.new("run-1")


def tell(hook: Hook, *, kind: str = "job.completed", to: str = "", secret: str = "", **more: object) -> None:
    """Tell the hook of a job of two photos, as Ebbmark does; answers do not matter here."""
    data = {"job": JOB, "reference": hook.reference, "epoch": 0, "total": 2, "done": 1, "failed": 1} | more
    body = json.dumps({"type": kind, "data": data}).encode()
    headers = signed_headers(parse_secret(secret or hook.secret), "evt_1", int(time.time()), body)
    with suppress(httpx.TransportError):  # one that hangs up
        httpx.post(to or hook.url, content=body, headers=headers, follow_redirects=False)


def due(hook: Hook, rounds: int = 0) -> list[Due]:
    return [Due(hook, JOB, 2, rounds)]


def test_a_completion_that_was_told_as_it_must_be_is_fine(hooks: Hooks, hook: Hook) -> None:
    tell(hook)
    tell(hook)
    assert hooks.against(due(hook)) == []
    assert hooks.strayed() == []


def test_a_completion_that_was_told_to_nobody_is_found_also_of_the_last_round(
    hooks: Hooks, hook: Hook
) -> None:
    assert hooks.against(due(hook)) == [f"{hook.path}: its completion was not told"]
    tell(hook)
    assert hooks.against(due(hook, rounds=1)) == [f"{hook.path}: its completion was not told"]
    tell(hook, epoch=1)
    assert hooks.against(due(hook, rounds=1)) == []


def test_few_completions_may_be_too_late_to_tell_and_then_their_end_is_told(hooks: Hooks) -> None:
    made = [hooks.new(f"late-{n}") for n in range(3)]
    for each in made:
        tell(each, kind="job.expired")
    jobs = [Due(each, JOB, 2, 0) for each in made]
    assert hooks.against(jobs[:2]) == []
    assert len(hooks.against(jobs)) == 3


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"secret": "whsec_" + base64.b64encode(bytes(32)).decode()}, "the signature is wrong"),
        ({"reference": "order of somebody else"}, "another's job"),
        ({"job": "another"}, "told of 2 photos of another"),
        ({"total": 3}, "told of 3 photos"),
        ({"done": 0}, "told complete with 0 and 1"),
    ],
    ids=str,
)
def test_what_is_told_wrongly_is_found(hooks: Hooks, hook: Hook, wrong: dict[str, str], what: str) -> None:
    tell(hook)
    tell(hook, **wrong)
    (found,) = {each for each in hooks.against(due(hook)) if what in each}
    assert found.startswith(hook.path)


def test_what_comes_where_nobody_may_come_is_found(hooks: Hooks, hook: Hook) -> None:
    tell(hook, to=hooks.receiver.url(INSIDE))
    tell(hook, to=hooks.forbidden_url())
    assert len(hooks.strayed()) == 2
    assert hooks.against([]) == [f"{INSIDE} was told something"] * 2
