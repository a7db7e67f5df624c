"""What the description of the HTTP interface says that no answer of one moment shows."""

from typing import Any

import msgspec
import pytest

from ingest.answers import JOB
from tests.unit.visits import House

METHODS = ("get", "put", "post", "delete")
DOCUMENT = msgspec.json.decode(msgspec.json.encode(House().app.openapi_schema.to_schema()))
OPERATIONS: dict[str, dict[str, Any]] = {
    f"{method} {path}": of_path[method]
    for path, of_path in DOCUMENT["paths"].items()
    for method in METHODS
    if method in of_path
}
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
ALWAYS_ANSWERED = "get /readyz"


def refusals(operation: dict[str, Any]) -> dict[int, object]:
    """What it may be answered when it is refused, by status."""
    return {
        int(status): answer["content"]
        for status, answer in operation["responses"].items()
        if int(status) >= 400
    }


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - {ALWAYS_ANSWERED}))
def test_every_refusal_is_a_problem(name: str) -> None:
    assert all(content == PROBLEM for content in refusals(OPERATIONS[name]).values())


@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - {ALWAYS_ANSWERED}))
def test_the_refusals_of_connections_and_guards_are_described(name: str) -> None:
    operation, expected = OPERATIONS[name], {429, 503}
    if "{public_id}" in name:
        expected |= JOB
    if not name.startswith("get "):
        expected |= {403}
    if operation.get("security"):
        expected |= {401, 403}
    assert refusals(operation).keys() >= expected


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_made_up_example_is_shown(name: str) -> None:
    assert b'"examples"' not in msgspec.json.encode(OPERATIONS[name]["responses"])
