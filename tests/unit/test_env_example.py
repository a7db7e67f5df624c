"""`.env.example` says of every setting what it is and what it is without being set."""

import re
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from ebbmark.settings import Settings, variables

LINES = (Path(__file__).parents[2] / ".env.example").read_text("utf-8").splitlines()
SETTING = re.compile(r"#(EBBMARK_[A-Z_]+)=(.*)")
EXAMPLES = {found[1]: found[2] for line in LINES if (found := SETTING.fullmatch(line))}


def test_it_lists_every_setting_once_in_the_order_of_the_code() -> None:
    names = [found[1] for line in LINES if (found := SETTING.fullmatch(line))]
    assert names == list(variables())


@pytest.mark.parametrize("name", variables())
def test_the_value_it_shows_is_the_default(name: str) -> None:
    section, key, _ = variables()[name]
    shown = Settings.from_env({name: EXAMPLES[name]})
    assert getattr(getattr(shown, section), key) == getattr(getattr(Settings(), section), key)


def test_to_uncomment_all_of_it_changes_nothing() -> None:
    assert Settings.from_env(EXAMPLES) == Settings()


def test_every_setting_has_a_sentence_above_it() -> None:
    bare = [
        below
        for above, below in pairwise(LINES)
        if SETTING.fullmatch(below) and not re.fullmatch(r"# \S.*\.", above)
    ]
    assert bare == []


def test_the_sections_are_introduced_as_in_the_code() -> None:
    headings = [line.removeprefix("## ") for line in LINES if line.startswith("## ")]
    assert headings == [section.type.__doc__ for section in msgspec.structs.fields(Settings)]


def test_a_copy_of_it_sets_nothing_until_a_line_is_uncommented() -> None:
    assert [line for line in LINES if line and not line.startswith("#")] == []
