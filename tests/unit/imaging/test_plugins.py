"""An operation of another distribution is a full member, without Ebbmark knowing it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebbmark.errors import Rejected
from ebbmark.imaging.operation import catalogue, operations_schema
from ebbmark.imaging.recipe import parse_recipe, recipe_from_form
from ebbmark.imaging.render import warm
from tests.unit.imaging.photos import flat, recipe, rendered, result, saved

INVERT = """
from typing import Annotated
from msgspec import Meta
from PIL import ImageChops
from ebbmark.imaging.operation import Context, Operation

class Invert(Operation, frozen=True):
    summary = "Turn light into dark."
    size: Annotated[int, Meta(title="Times", description="How often.", ge=1, le=3)] = 1

    def edit(self, image, context):
        for _ in range(self.size):
            image = ImageChops.invert(image)
        return image

class Stranger:
    pass
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed distributions, as pip leaves them."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ebbmark_invert.py").write_text(INVERT)
    yield tmp_path
    sys.modules.pop("ebbmark_invert", None)
    catalogue.cache_clear()


def install(site: Path, entry_point: str) -> None:
    information = site / "ebbmark_invert-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: ebbmark-invert\nVersion: 1\n")
    (information / "entry_points.txt").write_text(f"[ebbmark.operations]\n{entry_point}\n")
    catalogue.cache_clear()


def test_an_installed_plugin_is_listed_parsed_and_performed(site: Path) -> None:
    install(site, "invert = ebbmark_invert:Invert")
    assert "invert" in catalogue()
    (described,) = (operation for operation in operations_schema() if operation["name"] == "invert")
    assert described["summary"] == "Turn light into dark."
    photo = saved(flat(colour="#204060"), "PNG")
    assert rendered(photo, recipe({"operation": "invert"})).getpixel((0, 0)) == (0xDF, 0xBF, 0x9F)
    assert rendered(photo, recipe({"operation": "invert", "size": 2})).getpixel((0, 0)) == (0x20, 0x40, 0x60)


def test_a_plugin_s_parameters_are_checked_like_any_other(site: Path) -> None:
    install(site, "invert = ebbmark_invert:Invert")
    with pytest.raises(Rejected) as refused:
        parse_recipe(recipe({"operation": "invert", "size": 4}))
    assert refused.value.detail == "invert: size must be a whole number from 1 to 3."


def test_a_field_that_two_chosen_operations_declare_must_name_its_operation(site: Path) -> None:
    install(site, "invert = ebbmark_invert:Invert")
    with pytest.raises(Rejected) as refused:
        recipe_from_form(["watermark", "invert"], {"text": "x", "size": "2"})
    assert refused.value.detail == "size belongs to several operations; write watermark.size or invert.size."
    assert recipe_from_form(["watermark", "invert"], {"text": "x", "invert.size": "2"})
    assert recipe_from_form(["invert"], {"size": "2"})


def test_warming_up_loads_the_operations_before_any_photo_does() -> None:
    catalogue.cache_clear()
    warm()
    assert catalogue.cache_info().currsize == 1


def test_a_recipe_of_an_operation_that_is_not_installed_here_fails_that_photo() -> None:
    with pytest.raises(Rejected) as refused:
        result(saved(flat(), "PNG"), recipe({"operation": "invert", "size": 3}))
    assert refused.value.code == "unknown-operation"


@pytest.mark.parametrize(
    ("entry_point", "complaint"),
    [
        ("invert = ebbmark_invert:Stranger", "is not an Operation"),
        ("negative = ebbmark_invert:Invert", "names an operation called invert"),
    ],
)
def test_an_entry_point_of_something_else_is_refused_at_once(
    site: Path, entry_point: str, complaint: str
) -> None:
    install(site, entry_point)
    with pytest.raises(TypeError, match=complaint):
        catalogue()
