"""A plugin that raises, hangs, eats memory or kills its child fails its photo only, in real children."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Iterator
from datetime import timedelta
from multiprocessing import forkserver
from pathlib import Path

import msgspec
import pytest
from prometheus_client import REGISTRY

from ebbmark.errors import LimitExceeded, Rejected
from ebbmark.pool import ChildLost, PoolLost
from ebbmark.settings import Settings, Worker
from ebbmark.states import PhotoState
from ebbmark.topics import DEAD_LETTERS
from processors.pool import RenderPool
from processors.renderer import Renderer
from tests.people import eventually, photo
from tests.unit.test_pool import children, dead
from tests.unit.test_services_in_memory import World

HARM = """
import asyncio, os, signal, sys, time
from typing import ClassVar
from ebbmark.errors import LimitExceeded, Rejected, Unavailable
from ebbmark.imaging.operation import Operation

class Harmful(Operation, frozen=True):
    def edit(self, image, context):
        return self.harm(image) if image.width == 333 else image

class Fault(Harmful, frozen=True):
    def harm(self, image):
        raise ValueError(f"the words of {image}")

class Exit(Harmful, frozen=True):
    def harm(self, image):
        sys.exit("good bye")

class Interrupt(Harmful, frozen=True):
    def harm(self, image):
        raise KeyboardInterrupt

class Cancel(Harmful, frozen=True):
    def harm(self, image):
        raise asyncio.CancelledError

class Away(Harmful, frozen=True):
    def harm(self, image):
        raise Unavailable("elsewhere", "The server of colours does not answer.")

class Sized(Rejected):
    def __init__(self, width, *, least):
        super().__init__("photo-too-small", f"The photo has {width} pixels and needs {least}.")

class Measured(LimitExceeded):
    def __init__(self, width, *, most):
        super().__init__("photo-too-large", f"The photo has {width} pixels and may have {most}.")

class Small(Harmful, frozen=True):
    def harm(self, image):
        raise Sized(image.width, least=400)

class Large(Harmful, frozen=True):
    def harm(self, image):
        raise Measured(image.width, most=200)

class Early(Harmful, frozen=True):
    def __post_init__(self):
        sys.exit("good bye")

class Nothing(Harmful, frozen=True):
    def harm(self, image):
        return None

class Palette(Harmful, frozen=True):
    def harm(self, image):
        return image.convert("P")

class Hang(Harmful, frozen=True):
    def harm(self, image):
        while True:
            time.sleep(1)

class Spin(Harmful, frozen=True):
    def harm(self, image):
        while True:
            pass

class Greedy(Harmful, frozen=True):
    def harm(self, image):
        held = []
        while True:
            held.append(bytes(64 * 1024**2))

class Hoarder(Harmful, frozen=True):
    held: ClassVar[list[bytes]] = []

    def harm(self, image):
        while True:
            self.held.append(bytes(4 * 1024**2))

class Deadly(Harmful, frozen=True):
    def harm(self, image):
        os.kill(os.getpid(), signal.SIGKILL)

class Slow(Harmful, frozen=True):
    seconds: ClassVar[float] = 30.0

    def harm(self, image):
        time.sleep(4)
        return image

class Slower(Harmful, frozen=True):
    seconds: ClassVar[float] = 1.0

    def harm(self, image):
        time.sleep(60)
"""
NAMES = (
    "Fault", "Exit", "Interrupt", "Cancel", "Away", "Small", "Large", "Early", "Nothing", "Palette", "Hang",
    "Spin", "Greedy", "Hoarder", "Deadly", "Slow", "Slower",
)  # fmt: skip
SETTINGS = msgspec.structs.replace(
    Settings(), worker=Worker(children=2, child_timeout=timedelta(seconds=3), child_memory=1024**3)
)
BAD, GOOD = photo(333, 240), photo(320, 240)
POISON = "Rendering this photo failed again and again; it was set aside so that it harms no other."


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The operations, installed for children alone; their fork server is a new one, and the next test's."""
    (tmp_path / "ebbmark_harm.py").write_text(HARM)
    about = tmp_path / "ebbmark_harm-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ebbmark-harm\nVersion: 1\n")
    points = "".join(f"{name.lower()} = ebbmark_harm:{name}\n" for name in NAMES)
    (about / "entry_points.txt").write_text(f"[ebbmark.operations]\n{points}")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # noqa: SLF001 - it has read the old path
    yield
    forkserver._forkserver._stop()  # type: ignore[attr-defined]  # noqa: SLF001 - as above


@pytest.fixture
async def pool(site: None) -> AsyncGenerator[RenderPool]:
    del site
    async with RenderPool(SETTINGS) as running:
        yield running


def recipe(name: str) -> bytes:
    return json.dumps({"operations": [{"operation": name}]}).encode()


async def width(pool: RenderPool, original: bytes, name: str) -> int:
    return (await pool.render(original, recipe(name), None, {})).width


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("fault", "The operation fault is at fault: it ended with ValueError."),
        ("exit", "The operation exit is at fault: it ended with SystemExit."),
        ("interrupt", "The operation interrupt is at fault: it ended with KeyboardInterrupt."),
        ("cancel", "The operation cancel is at fault: it ended with CancelledError."),
        ("away", "The operation away is at fault: it ended with Unavailable."),
        ("nothing", "The operation nothing is at fault: it returned NoneType."),
        ("palette", "The operation palette is at fault: it returned a frame of mode P."),
    ],
)
async def test_an_operation_with_a_fault_fails_its_photo_at_once(
    pool: RenderPool, name: str, detail: str
) -> None:
    with pytest.raises(Rejected) as failed:
        await width(pool, BAD, name)
    assert (failed.value.code, failed.value.detail) == ("operation-failed", detail)
    assert await width(pool, GOOD, name) == 320


@pytest.mark.parametrize(
    ("name", "kind", "code", "detail"),
    [
        ("small", Rejected, "photo-too-small", "The photo has 333 pixels and needs 400."),
        ("large", LimitExceeded, "photo-too-large", "The photo has 333 pixels and may have 200."),
    ],
)
async def test_a_refusal_of_an_operation_s_own_class_is_told_by_its_code_and_its_sentence(
    pool: RenderPool, name: str, kind: type[Rejected], code: str, detail: str
) -> None:
    pools = REGISTRY.get_sample_value("ebbmark_pools_started_total")
    with pytest.raises(Rejected) as failed:
        await width(pool, BAD, name)
    assert (type(failed.value), failed.value.code, failed.value.detail) == (kind, code, detail)
    assert await width(pool, GOOD, name) == 320
    assert REGISTRY.get_sample_value("ebbmark_pools_started_total") == pools


async def test_an_operation_that_ends_its_process_while_its_step_is_read_ends_no_other(
    pool: RenderPool,
) -> None:
    with pytest.raises(ChildLost, match="SystemExit"):
        await width(pool, BAD, "early")
    assert await width(pool, GOOD, "fault") == 320


@pytest.mark.parametrize(
    ("line", "raised"),
    [("import nowhere", "ModuleNotFoundError"), ("import sys; sys.exit(3)", "SystemExit")],
)
async def test_a_package_that_cannot_be_imported_is_told_when_a_worker_starts(
    site: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, raised: str
) -> None:
    del site
    monkeypatch.syspath_prepend(tmp_path)  # as if it were installed: a child looks where its parent does
    (tmp_path / "ebbmark_harm.py").write_text(f"{line}\n")
    with pytest.raises(PoolLost, match=rf"entry point away = ebbmark_harm:Away cannot be loaded: {raised}\("):
        async with RenderPool(SETTINGS):
            pass


async def test_an_operation_that_eats_memory_fails_its_photo_at_once(pool: RenderPool) -> None:
    with pytest.raises(LimitExceeded) as failed:
        await width(pool, BAD, "greedy")
    assert failed.value.code == "out-of-memory"
    assert failed.value.detail == "The photo needs more memory than one photo may take."
    assert await width(pool, GOOD, "greedy") == 320


async def test_what_an_operation_hoards_ends_with_its_child_and_no_photo_is_lost_by_that(
    pool: RenderPool,
) -> None:
    assert await width(pool, GOOD, "hoarder") == 320
    lost = REGISTRY.get_sample_value("ebbmark_children_lost_total", {"reason": "died"})
    before = children()
    with pytest.raises(LimitExceeded, match="out-of-memory"):
        await width(pool, BAD, "hoarder")
    assert await asyncio.gather(*(width(pool, GOOD, "hoarder") for _ in range(8))) == [320] * 8
    eventually(lambda: sum(map(dead, before)), lambda ended: ended == 1)
    assert REGISTRY.get_sample_value("ebbmark_children_lost_total", {"reason": "died"}) == lost


@pytest.mark.parametrize(("name", "reason"), [("deadly", "died"), ("hang", "timeout"), ("spin", "timeout")])
async def test_an_operation_that_costs_its_child_costs_no_other_photo(
    pool: RenderPool, name: str, reason: str
) -> None:
    with pytest.raises(ChildLost, match=reason):
        await width(pool, BAD, name)
    assert await width(pool, GOOD, name) == 320


async def test_an_operation_may_take_the_time_it_asks_for_and_no_more(pool: RenderPool) -> None:
    assert await width(pool, BAD, "slow") == 333  # longer than a child may take by itself
    with pytest.raises(ChildLost, match="timeout"):
        await width(pool, BAD, "slower")


async def test_a_recipe_may_take_what_its_operations_ask_for_together(pool: RenderPool) -> None:
    steps = [{"operation": name} for name in ("slow", "slower", "slow", "fault", "unknown")]
    assert pool.limit_of(json.dumps({"operations": steps}).encode()) == 3 + 30 + 1 + 30
    assert pool.limit_of(b"no recipe") == 3


@pytest.mark.parametrize(
    ("name", "code", "detail"),
    [
        ("fault", "operation-failed", "The operation fault is at fault: it ended with ValueError."),
        ("exit", "operation-failed", "The operation exit is at fault: it ended with SystemExit."),
        ("away", "operation-failed", "The operation away is at fault: it ended with Unavailable."),
        ("small", "photo-too-small", "The photo has 333 pixels and needs 400."),
        ("greedy", "out-of-memory", "The photo needs more memory than one photo may take."),
        ("deadly", "poison", POISON),
        ("hang", "poison", POISON),
    ],
)
async def test_of_a_job_with_such_an_operation_only_the_photo_that_it_harms_fails(
    pool: RenderPool, name: str, code: str, detail: str
) -> None:
    world = World()
    world.renderer = Renderer(world.ledger, world.store, world.log, pool, SETTINGS.worker)
    job = await world.accept(BAD, GOOD, recipe=recipe(name))
    for _ in range(10):
        await world.deliver()
        world.now += timedelta(minutes=2)
        await world.sweep()
    harmed, neighbour = await world.photo(job.id), await world.photo(job.id, 1)
    assert (harmed.state, harmed.code, harmed.detail) == (PhotoState.FAILED, code, detail)
    assert neighbour.state is PhotoState.DONE
    assert [letter.reason for letter in world.log.events(DEAD_LETTERS)] == (
        ["poison"] if code == "poison" else []
    )
