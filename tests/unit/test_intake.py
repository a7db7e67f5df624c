"""What a form asks for is read at once, however much it says: everybody else waits for it."""

import time

import pytest

from ebbmark.errors import Rejected
from ebbmark.presets import shipped
from ingest.intake import recipe_of
from ingest.uploads import Fields

AT_ONCE = 0.25
"""Seconds of CPU that reading a form may take at the very most; it takes a hundredth of that."""
MANY = ",".join(f"op{n}" for n in range(4000))
FLAT = {f"field{n}": ["x"] for n in range(250)}


def refusal(values: dict[str, list[str]], *, whole_form: bool) -> tuple[str, float]:
    """Return the code with which a form is refused, and the seconds of CPU until then."""
    began = time.process_time()
    with pytest.raises(Rejected) as refused:
        recipe_of(Fields(values), shipped(), has_logo=True, whole_form=whole_form)
    return refused.value.code, time.process_time() - began


@pytest.mark.parametrize("whole_form", [True, False])
@pytest.mark.parametrize("about", [{}, {"order": [""]}, {"order": [MANY]}, {"preset": ["web-proof"]}, FLAT])
@pytest.mark.parametrize("operations", [[MANY], MANY.split(","), [MANY.replace(",", " ")]])
def test_thousands_of_operations_are_refused_before_any_is_looked_at(
    operations: list[str], about: dict[str, list[str]], *, whole_form: bool
) -> None:
    shipped()
    code, seconds = refusal({"operations": operations, **about}, whole_form=whole_form)
    assert code == "too-many-operations"
    assert seconds < AT_ONCE


def test_long_names_are_refused_at_once_however_many_fields_there_are() -> None:
    names = [f"{n}.{'.2' * 4000}" for n in range(15)]
    code, seconds = refusal({"operations": names, **FLAT}, whole_form=True)
    assert code == "unknown-operation"
    assert seconds < AT_ONCE


def test_an_order_that_lists_an_operation_often_performs_it_once() -> None:
    values = {"operations": ["grayscale", "blur"], "order": [",".join(["grayscale"] * 4000)]}
    began = time.process_time()
    asked = recipe_of(Fields(values), {}, has_logo=False, whole_form=True)
    assert time.process_time() - began < AT_ONCE
    assert [type(each).__name__ for each in asked.operations] == ["Grayscale", "Blur"]
