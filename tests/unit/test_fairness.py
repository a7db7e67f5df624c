"""A newcomer's photo is rendered next, however many of another client's photos wait."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

from ebbmark.guard import Message, guarded
from ebbmark.imaging.recipe import parse_recipe
from ebbmark.imaging.render import Rendered
from ebbmark.ledger import JobRow
from ebbmark.settings import Settings
from ebbmark.testing import MemoryLedger, MemoryLog, MemoryStore
from ebbmark.topics import BULK, EXPRESS, EXPRESS_PHOTOS, UPLOADS, Topic
from ingest.jobs import Door
from ingest.uploads import Spool
from processors.app import lanes_of
from processors.planner import Planner
from processors.renderer import Renderer

CHILDREN = 2
JPEG = b"\xff\xd8\xff\xe0"  # as much of a photo as the door looks at
RECIPE = parse_recipe('{"operations": [{"operation": "grayscale"}]}').to_json()
RESULT = Rendered(
    data=b"r",
    media_type="image/jpeg",
    extension="jpg",
    width=1,
    height=1,
    thumbnail=b"t",
    pixels=1,
    began=0.0,
    steps=(),
)


class Children:
    """Render nothing, first come first served, as long as a test gives them turns; note what came."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(0)
        self.rendered: list[bytes] = []
        self._free = asyncio.Semaphore(CHILDREN)

    async def render(
        self, original: bytes, recipe: bytes, logo: bytes | None, facts: Mapping[str, str]
    ) -> Rendered:
        del recipe, logo, facts
        async with self._free:
            await self.turns.acquire()
            self.rendered.append(original)
            return RESULT


class Workshop:
    """Ingest's door, the planner, and one worker with the lanes that a worker has."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.ledger, self.store, self.log = MemoryLedger(), MemoryStore(), MemoryLog()
        self.door = Door(self.ledger, self.store, self.log, self.settings)
        self.children = Children()
        self.lanes = lanes_of(self.settings.worker, CHILDREN)
        self.planned = 0

    async def accept(self, *contents: bytes) -> JobRow:
        opened = await self.door.open(idempotency_key=None, recipe=RECIPE)
        photos = []
        for n, content in enumerate(contents):
            with Spool("", self.settings.photo.bytes) as spool:
                spool.write(content)
                photos.append(await self.door.keep_original(opened.job.id, n, f"{n}.jpg", spool))
        await self.door.add(opened.job, photos)
        job = await self.door.seal(opened.job, len(photos))
        for uploaded in self.log.events(UPLOADS)[self.planned :]:
            await Planner(self.log).handle(uploaded)
        self.planned = len(self.log.events(UPLOADS))
        return job

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[None]:
        renderer = Renderer(self.ledger, self.store, self.log, self.children, self.settings.worker)
        consuming = [
            asyncio.create_task(
                guarded(
                    self._orders(topic),
                    topic=topic.name,
                    decode=topic.decode,
                    handle=renderer.handle,
                    give_up=_never,
                    slots=self.lanes.lane(topic.name),
                )
            )
            for topic in (EXPRESS, BULK)
        ]
        try:
            yield
        finally:
            for each in consuming:
                each.cancel()
            await asyncio.gather(*consuming, return_exceptions=True)

    async def rendered(self, count: int) -> None:
        """Let the children render until they have rendered so many, and no more."""
        for _ in range(count - len(self.children.rendered)):
            self.children.turns.release()
        async with asyncio.timeout(60):
            while len(self.children.rendered) < count:  # noqa: ASYNC110 - lists have no events
                await asyncio.sleep(0)

    async def at_rest(self) -> None:
        """Let everything go on that can without another turn."""
        for _ in range(500):
            await asyncio.sleep(0)

    async def _orders(self, topic: Topic) -> AsyncIterator[Message]:
        read = 0
        while True:
            while read < len(self.log.records):
                record = self.log.records[read]
                read += 1
                if record.topic == topic.name:
                    yield Message(
                        topic=topic.name,
                        partition=0,
                        offset=read,
                        generation=0,
                        value=record.value,
                        ack=lambda: None,
                    )
            await asyncio.sleep(0)


async def _never(*_: object) -> None:
    raise AssertionError


async def test_a_newcomer_beside_500_waits_only_for_what_is_in_hand() -> None:
    shop = Workshop()
    await shop.accept(*(JPEG + b"bulk %d" % n for n in range(500)))
    async with shop.worker():
        await shop.rendered(2 * EXPRESS_PHOTOS + 10)
        before = len(shop.children.rendered)
        await shop.accept(JPEG + b"newcomer")
        await shop.at_rest()
        in_hand = 2 * CHILDREN + 2
        await shop.rendered(before + in_hand)
    assert JPEG + b"newcomer" in shop.children.rendered[before:]
    assert all(b"bulk" in content for content in shop.children.rendered[:before])
