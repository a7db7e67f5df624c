"""A worker decodes photos only in children that may be killed: bytes in, bytes out, under hard limits."""

import os
from collections.abc import Mapping
from typing import Self

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
        self._limits = Limits(bytes=settings.photo.bytes, pixels=settings.photo.pixels)

    async def __aenter__(self) -> Self:
        metrics.CHILDREN.set(self.children)
        metrics.CHILDREN_BUSY.set_function(lambda: self.busy)
        await super().__aenter__()
        await self.warm()
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
        return await self.run(render, original, recipe, logo, self._limits, dict(facts))
