"""A worker decodes photos only in children that may be killed: bytes in, bytes out, under hard limits."""

import os
from collections.abc import Mapping
from typing import Self

import msgspec

from ebbmark.imaging.operation import catalogue
from ebbmark.imaging.render import Limits, Rendered, render
from ebbmark.pool import ChildPool, Confines
from ebbmark.settings import Settings
from observability import metrics

__all__ = ["RenderPool"]


class RenderPool(ChildPool):
    """As many rendering children as cores, unless the settings say otherwise."""

    def __init__(self, settings: Settings) -> None:
        """Start nothing yet."""
        worker = settings.worker
        super().__init__(
            Confines(
                children=worker.children or os.cpu_count() or 1,
                seconds=worker.child_timeout.total_seconds(),
                memory=worker.child_memory,
                calls=worker.child_photos,
            )
        )
        self._seconds: Mapping[str, float] = {}
        self._limits = Limits(bytes=settings.photo.bytes, pixels=settings.photo.pixels)

    async def __aenter__(self) -> Self:
        metrics.CHILDREN.set(self.children)
        metrics.CHILDREN_BUSY.set_function(lambda: self.busy)
        await super().__aenter__()
        try:
            self._seconds = await self.warm(_own_seconds)
        except BaseException:
            await self.__aexit__(None, None, None)  # whoever enters in vain leaves nothing behind
            raise
        return self

    async def render(
        self, original: bytes, recipe: bytes, logo: bytes | None, facts: Mapping[str, str]
    ) -> Rendered:
        """Render in a child; `facts` are what a mark may say of the photo.

        Raises:
            Rejected: the photo or its recipe is at fault.
            ChildLost: the child died, hung, or failed for a reason nobody foresaw.
            PoolLost: there are no children any more, and there will be none.
        """
        within = self.limit_of(recipe)
        return await self.run_within(within, render, original, recipe, logo, self._limits, dict(facts))

    def limit_of(self, recipe: bytes) -> float:
        """Return after how many seconds a child is killed: what any photo may take, and what this wants."""
        if not self._seconds:
            return self.seconds
        try:
            steps = msgspec.json.decode(recipe, type=_Steps).operations
        except msgspec.MsgspecError:  # the child says so of this photo
            return self.seconds
        return self.seconds + sum(self._seconds.get(step.operation, 0.0) for step in steps)


class _Step(msgspec.Struct):
    operation: str


class _Steps(msgspec.Struct):
    operations: list[_Step]


def _own_seconds() -> dict[str, float]:
    """Return how much more time each operation asks for, if any: only children load the code of plugins."""
    return {name: cls.seconds for name, cls in catalogue().items() if cls.seconds}
