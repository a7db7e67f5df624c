"""Marks look the same on every frame and never leave it."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbmark.imaging.layout import EVERYWHERE, POSITIONS, Arrangement, Position, arrange, em_of

EXTENT = (7.0, 1.0)
SINGLE = [position for position in POSITIONS if position not in EVERYWHERE]
REPEATED = sorted(EVERYWHERE)

edges = st.integers(1, 20_000)
frames = st.tuples(edges, edges)
extents = st.tuples(st.floats(0.01, 200), st.floats(0.01, 60))
sizes = st.floats(0.01, 0.5)
angles = st.floats(-180, 180)
styles = st.fixed_dictionaries({"size": sizes, "margin": st.floats(0, 0.4), "angle": angles})


def placed(frame: tuple[int, int], position: Position = "bottom-right", angle: float = 0) -> Arrangement:
    return arranged(frame, EXTENT, position, size=0.05, margin=0.03, angle=angle)


def arranged(
    frame: tuple[int, int], extent: tuple[float, float], position: Position, *, size: float, **style: float
) -> Arrangement:
    return arrange(frame, extent, position=position, em=em_of(frame, size), **{"margin": 0.03, **style})


@given(frames, extents, st.sampled_from(SINGLE), styles)
def test_a_single_mark_lies_within_the_frame(
    frame: tuple[int, int], extent: tuple[float, float], position: Position, style: dict[str, float]
) -> None:
    (place,) = arranged(frame, extent, position, **style).places
    left, top, right, bottom = place.box
    assert 0 <= left < right <= frame[0]
    assert 0 <= top < bottom <= frame[1]


@given(frames, extents, st.sampled_from(REPEATED), sizes, angles)
def test_repeated_marks_touch_the_frame_are_alike_and_not_too_many(
    frame: tuple[int, int], extent: tuple[float, float], position: Position, size: float, angle: float
) -> None:
    plan = arranged(frame, extent, position, size=size, angle=angle)
    assert {(place.width, place.height) for place in plan.places} == {plan.outer}
    assert len(plan.places) < 20_000
    for left, top, right, bottom in (place.box for place in plan.places):
        assert left < frame[0]
        assert right > 0
        assert top < frame[1]
        assert bottom > 0


@given(frames, extents, st.sampled_from(SINGLE), sizes)
def test_a_mark_keeps_its_proportions_however_small_it_must_be(
    frame: tuple[int, int], extent: tuple[float, float], position: Position, size: float
) -> None:
    width, height = arranged(frame, extent, position, size=size).size
    assert abs(width * extent[1] - height * extent[0]) <= extent[0] + extent[1]


def test_portrait_and_landscape_get_the_same_mark() -> None:
    landscape, portrait = placed((4000, 3000)), placed((3000, 4000))
    assert landscape.size == portrait.size
    assert 4000 - landscape.places[0].box[2] == 3000 - portrait.places[0].box[2]
    assert 3000 - landscape.places[0].box[3] == 4000 - portrait.places[0].box[3]


@pytest.mark.parametrize("factor", [2, 5, 10])
def test_a_larger_photo_gets_the_mark_in_proportion(factor: int) -> None:
    small, large = placed((400, 300)), placed((400 * factor, 300 * factor))
    for one, other in zip(small.places[0], large.places[0], strict=True):
        assert abs(one * factor - other) <= 2 * factor


def test_every_position_is_where_its_name_says() -> None:
    frame = (900, 600)
    for position in SINGLE:
        left, top, right, bottom = placed(frame, position).places[0].box
        middle = (left + right) / 2, (top + bottom) / 2
        column = 0 if "left" in position else 2 if "right" in position else 1
        row = 0 if "top" in position else 2 if "bottom" in position else 1
        assert column == (0 if middle[0] < 400 else 2 if middle[0] > 500 else 1)
        assert row == (0 if middle[1] < 250 else 2 if middle[1] > 350 else 1)


@pytest.mark.parametrize("position", REPEATED)
def test_repeated_marks_leave_no_large_part_of_the_frame_unmarked(position: Position) -> None:
    frame = (1200, 800)
    places = placed(frame, position, 30).places
    for x in range(0, frame[0], 300):
        for y in range(0, frame[1], 400):
            assert any(
                place.left < x + 300 and place.box[2] > x and place.top < y + 400 and place.box[3] > y
                for place in places
            )


def test_tiled_marks_stand_in_rows_along_their_text() -> None:
    places = placed((4000, 3000), "tiled", 30).places
    middles = [(left + width / 2, top + height / 2) for left, top, width, height in places]
    in_row = 0
    for x, y in middles:
        in_row += any(
            abs(math.degrees(math.atan2(y - other[1], other[0] - x)) - 30) < 1
            for other in middles
            if other[0] > x and math.dist((x, y), other) < 1500
        )
    assert in_row > len(places) / 2


def test_every_other_row_of_tiles_is_shifted() -> None:
    rows: dict[int, set[int]] = {}
    for place in placed((4000, 3000), "tiled").places:
        rows.setdefault(place.top, set()).add(place.left)
    ordered = [rows[top] for top in sorted(rows)]
    assert len(ordered) > 3
    assert all(not one & other for one, other in itertools.pairwise(ordered))


@pytest.mark.parametrize("angle", [0, 45, 90])
def test_on_a_chessboard_the_fields_beside_a_mark_are_free(angle: float) -> None:
    plan = arranged((4000, 3000), EXTENT, "chessboard", size=0.02, angle=angle)
    rows: dict[int, list[int]] = {}
    for place in plan.places:
        rows.setdefault(place.top, []).append(place.left)
    tops = sorted(rows)
    assert len(tops) > 3
    for one, other in itertools.pairwise(tops):
        assert other - one >= plan.outer[1]
        for left, right in itertools.pairwise(sorted(rows[one])):
            assert right - left >= 2 * plan.outer[0]
            middle = (left + right) / 2
            assert any(abs(each - middle) <= 1 for each in rows[other])


def test_a_size_is_a_share_of_the_short_edge_or_of_the_diagonal() -> None:
    assert em_of((4000, 3000), 0.05) == em_of((3000, 4000), 0.05) == 150
    assert em_of((4000, 3000), 0.05, "diagonal") == em_of((3000, 4000), 0.05, "diagonal") == 250


def test_by_the_diagonal_a_panorama_has_as_large_a_mark_as_a_square_of_its_area() -> None:
    square, panorama = (3000, 3000), (6000, 1500)
    assert em_of(panorama, 0.05) / em_of(square, 0.05) == 0.5
    assert 1 < em_of(panorama, 0.05, "diagonal") / em_of(square, 0.05, "diagonal") < 1.5


def test_a_size_has_a_floor_and_a_ceiling_and_the_ceiling_is_the_last_word() -> None:
    sizes = [em_of((edge, edge), 0.05, "short-edge", 20, 60) for edge in (10, 400, 800, 1200, 9000)]
    assert sizes == [20, 20, 40, 60, 60]
    assert em_of((100, 100), 0.05, "short-edge", 30, 10) == 10


def test_a_frame_of_one_pixel_can_be_marked() -> None:
    assert placed((1, 1)).places == ((0, 0, 1, 1),)
