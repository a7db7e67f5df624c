"""Every hostile file comes to what the table says, in a real child, and the parent does not notice."""

import asyncio
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
from tests.zoo.table import TABLE, Animal, Look

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
    assert (picture.format, picture.size) == (look.format, look.size)
    assert (made.width, made.height) == look.size
    for point, colour in look.points.items():
        seen = picture.getpixel(point)
        channels = seen if isinstance(seen, tuple) else (seen,)
        assert len(channels) == len(colour)
        assert all(abs(a - b) <= NEAR for a, b in zip(channels, colour, strict=True)), (point, channels)
    assert look.lacks is None or look.lacks not in made.data


async def test_every_row_has_a_name_of_its_own() -> None:
    assert len({each.name for each in TABLE}) == len(TABLE)
