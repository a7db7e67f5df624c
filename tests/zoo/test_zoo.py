"""Every hostile file comes to what the table says, in a real child, and the parent does not notice."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from datetime import timedelta

import msgspec
import psutil
import pytest
import pytest_asyncio

from ebbmark.errors import Rejected
from ebbmark.imaging.render import Rendered
from ebbmark.settings import Settings, Worker
from observability import metrics
from processors.pool import RenderPool
from tests.unit.imaging.photos import opened
from tests.zoo.cuts import cuts, parts_of
from tests.zoo.makers import short
from tests.zoo.table import (
    HEIC_BOXES,
    KINDS,
    RARE_KINDS,
    TABLE,
    TOO_SHORT_TO_TELL,
    WHOLE_ENOUGH,
    Animal,
    Look,
)

WITHIN = timedelta(seconds=5)
ROOM = 24 * 1024**2
"""What the parent may take besides copies of the file and the result: the pipe's and the allocator's."""
NEAR = 6
LOST = ("timeout", "died", "failed", "broken")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncGenerator[RenderPool]:
    settings = msgspec.structs.replace(Settings(), worker=Worker(children=1, child_timeout=WITHIN))
    async with RenderPool(settings) as pool:
        yield pool


@pytest.fixture
def pool(running: RenderPool) -> RenderPool:
    return running


async def rendered(pool: RenderPool, animal: Animal, original: bytes) -> Rendered | str:
    """Return the result, or the code of the refusal; fail when this process grows meanwhile."""
    parent = psutil.Process()
    before = parent.memory_info().rss
    rendering = asyncio.ensure_future(
        pool.render(original, animal.recipe, None, {"filename": animal.file_name})
    )
    most = before
    while not (await asyncio.wait([rendering], timeout=0.005))[0]:
        most = max(most, parent.memory_info().rss)
    try:
        made: Rendered | str = rendering.result()
    except Rejected as exc:
        made = exc.code
    result = 0 if isinstance(made, str) else len(made.data)
    assert most - before <= ROOM + 2 * len(original) + 2 * result
    return made


def lost() -> float:
    return sum(metrics.CHILDREN_LOST.labels(reason)._value.get() for reason in LOST)  # noqa: SLF001 - nothing else tells


@pytest.mark.parametrize("animal", TABLE, ids=str)
async def test_it_comes_to_what_the_table_says(animal: Animal, pool: RenderPool) -> None:
    children_lost = lost()
    made = await rendered(pool, animal, animal.make())
    assert lost() == children_lost
    if isinstance(animal.outcome, str):
        assert made == animal.outcome
    else:
        assert not isinstance(made, str), made
        assert_looks(made, animal.outcome)


def assert_looks(made: Rendered, look: Look) -> None:
    picture = opened(made.data)
    assert (picture.format, picture.size, getattr(picture, "n_frames", 1)) == (
        look.format,
        look.size,
        look.frames,
    )
    assert (made.width, made.height) == look.size
    for point, colour in look.points.items():
        seen = picture.getpixel(point)
        channels = seen if isinstance(seen, tuple) else (seen,)
        assert len(channels) == len(colour)
        assert all(abs(a - b) <= NEAR for a, b in zip(channels, colour, strict=True)), (point, channels)
    assert look.lacks is None or look.lacks not in made.data


async def test_every_row_has_a_name_of_its_own() -> None:
    assert len({each.name for each in TABLE}) == len(TABLE)


async def test_every_cut_that_comes_to_something_else_than_damage_is_made() -> None:
    too_short = {f"a {kind} cut {where}" for kind, each in TOO_SHORT_TO_TELL.items() for where in each}
    assert too_short | set(WHOLE_ENOUGH) <= {each.name for each in TABLE}


@pytest.mark.parametrize("kind", [*KINDS, *RARE_KINDS, "heic"])
async def test_a_file_is_cut_at_both_ends_of_every_part(kind: str) -> None:
    data = short(kind)
    parts = list(parts_of(data, kind))
    gaps = [begin - end for (_, _, end), (_, begin, _) in itertools.pairwise(parts)]
    assert set(gaps) <= {0, 1}  # libtiff begins everything at an even place
    assert parts[-1][2] == len(data)
    whole = {at for _, begin, end in parts for at in (begin, begin + 1, end - 1)} - {0, len(data)}
    assert whole <= {at for _, at in cuts(data, kind)}


async def test_a_heic_is_cut_at_every_box() -> None:
    assert tuple(box for box, _, _ in parts_of(short("heic"), "heic")) == HEIC_BOXES
