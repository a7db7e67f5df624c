"""The imaging benchmark compares like with like, and counts what it says it counts."""

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from ebbmark.imaging.recipe import parse_recipe
from ebbmark.imaging.render import render
from loadtest import imaging
from loadtest.bare import RECIPES
from loadtest.corpus import encoded, photo

CONTENT = encoded(photo(640, 480, seed=3))
SIZE = (640, 480)


@pytest.mark.parametrize("name", RECIPES)
def test_a_bare_loop_makes_the_photo_and_the_thumbnail_that_ebbmark_makes(name: str) -> None:
    recipe = RECIPES[name]
    ours = render(CONTENT, imaging.asked(recipe))
    bare = recipe.bare(CONTENT, imaging.stamp(recipe, SIZE))
    imaging.check_alike(ours, bare)
    # The same work: not a coarser picture, nor a finer one.
    assert len(bare.data) == pytest.approx(len(ours.data), rel=0.03)


@pytest.mark.parametrize(
    ("one", "other"), [("mark", "tiled mark"), ("mark", "grayscale"), ("mark", "square of 400")]
)
def test_a_bare_loop_that_makes_something_else_is_not_measured(one: str, other: str) -> None:
    recipe = RECIPES[other]
    with pytest.raises(imaging.DifferentError):
        imaging.check_alike(
            render(CONTENT, imaging.asked(RECIPES[one])), recipe.bare(CONTENT, imaging.stamp(recipe, SIZE))
        )


def test_an_unmarked_photo_is_not_taken_for_a_marked_one() -> None:
    with pytest.raises(imaging.DifferentError):
        imaging.check_alike(
            render(CONTENT, imaging.asked(RECIPES["mark"])),
            RECIPES["mark"].bare(CONTENT, imaging.Stamp((), (), (0, 0, 9, 9))),
        )


def test_there_are_ten_recipes_and_each_is_one() -> None:
    assert len({parse_recipe(imaging.asked(recipe)).to_json() for recipe in RECIPES.values()}) == 10


async def test_the_ratio_is_that_of_the_turns_and_the_first_turn_does_not_count() -> None:
    clock = 0.0
    costs: dict[str, Iterator[float]] = {
        "bare": iter([100.0, 1.0, 2.0, 1.0, 2.0]),
        "ours": iter([900.0, 1.1, 2.2, 1.1, 3.0]),
    }
    order: list[str] = []

    def way(name: str) -> imaging.Way:
        async def work(photos: int) -> None:
            nonlocal clock
            order.append(name)
            clock += photos * next(costs[name])

        return work

    found = await imaging.in_turns((way("bare"), way("ours")), lambda: clock, turns=4, photos=5)
    assert found.bare_ms == pytest.approx(1500)
    assert found.ours_ms == pytest.approx(1650)
    assert found.ratio == pytest.approx(1.1)
    assert order == ["ours", "bare", "bare", "ours"] * 2 + ["ours", "bare"]


async def test_the_pool_is_measured_with_its_child_and_the_child_s_memory_is_told() -> None:
    recipe = RECIPES["long edge 600"]
    found = await imaging.in_pool(recipe, CONTENT, turns=2, photos=2)
    assert found.bare_ms > 0
    assert found.ours_ms > found.bare_ms / 2, "the child's time is counted, or there would be next to none"
    small, large = [
        await imaging.peak_megabytes(RECIPES["mark"], content) for content in (CONTENT, enlarged())
    ]
    assert small < large - 30


def enlarged() -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(CONTENT)).resize((4000, 3000)).save(out, "JPEG", quality=50)
    return out.getvalue()


def test_the_report_has_every_figure() -> None:
    ratio = imaging.Ratio(10.0, 10.4, 1.04, (1.03, 1.06))._asdict()
    slow = imaging.Ratio(10.0, 13.0, 1.3, (1.2, 1.4))._asdict()
    found = {
        name: {
            **dict.fromkeys(("0.3MP", "2MP", "12MP"), ratio),
            "pool": slow,
            "peak_mb": {"12MP": 120.0, "50MP": 430.0},
        }
        for name in RECIPES
    }
    told = imaging.report(found)
    assert "| mark | 10.00 | 1.040 | 10.00 | 1.040 | 10.00 | 1.040 | 1.300 |" in told
    assert "| mark | 120 | 430 |" in told
    assert "`render` within 1.05 ×: 30 of 30; median 1.040, worst 1.040." in told
    assert "the pool within 1.15 × at 2MP: 0 of 10; median 1.300, worst 1.300." in told
