"""A text is what its pattern says and nothing else, for Python and for every reader of JSON Schema."""

import ast
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from msgspec import Struct

from ebbmark.events import DeadLetter
from ebbmark.patterns import whole
from ingest.letters import Wish

ROOT = Path(__file__).parents[2]
PACKAGES = ("ebbmark", "ingest", "processors", "janitor", "observability")


@pytest.mark.parametrize(
    ("text", "taken"),
    [("a", True), ("bc", True), ("", False), ("abc", False), ("a\n", False), ("\na", False), ("a\na", False)],
)
def test_a_text_is_all_of_a_pattern_in_python_and_in_json_schema(text: str, *, taken: bool) -> None:
    pattern = whole("a|bc")
    assert bool(re.search(pattern, text)) is taken
    assert jsonschema_rs.validator_for({"type": "string", "pattern": pattern}).is_valid(text) is taken


def refuses(kind: type[Struct], message: dict[str, object]) -> bool:
    """Tell whether a message is refused, and by a reader of its JSON Schema, too."""
    validator = jsonschema_rs.validator_for(msgspec.json.schema(kind))
    try:
        msgspec.json.decode(msgspec.json.encode(message), type=kind)
    except msgspec.ValidationError:
        assert not validator.is_valid(message)
        return True
    assert validator.is_valid(message)
    return False


@pytest.mark.parametrize("wish", [{"reason": "poison"}, {"ids": ["0123456789abcdef" * 2]}])
def test_a_line_feed_behind_it_is_no_part_of_what_is_to_be_redriven(wish: dict[str, Any]) -> None:
    ((name, said),) = wish.items()
    spoilt = [f"{said[0]}\n"] if isinstance(said, list) else f"{said}\n"
    assert not refuses(Wish, wish)
    assert refuses(Wish, {name: spoilt})


@pytest.mark.parametrize("field", ["reason", "topic"])
def test_a_line_feed_is_no_part_of_a_word_in_a_dead_letter(field: str) -> None:
    letter = {
        "type": "DeadLetter",
        "reason": "handler-failed",
        "attempts": 1,
        "first_seen": "2026-05-01T00:00:00Z",
        "last_seen": "2026-05-01T00:00:01Z",
        "topic": "tasks.express",
        "partition": 3,
        "offset": 4,
        "original": "",
    }
    assert not refuses(DeadLetter, letter)
    assert refuses(DeadLetter, {**letter, field: f"{letter[field]}\n"})


def test_no_pattern_is_written_that_a_line_feed_may_follow() -> None:
    written = [
        f"{path.relative_to(ROOT)}:{node.value.lineno}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.keyword) and node.arg == "pattern"
        if isinstance(node.value, ast.Constant | ast.JoinedStr)
    ]
    assert written == []
