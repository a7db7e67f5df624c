"""Re-keys the stream: from uploads in the order of jobs to one order per photo, in a lane."""

from ebbmark.eventlog import EventLog
from ebbmark.events import PhotoUploaded, RenderPhoto
from ebbmark.topics import lane
from observability import tracing


class Planner:
    """Spreads the photos of one job over every worker."""

    def __init__(self, log: EventLog) -> None:
        """Publish to `log`."""
        self._log = log

    async def handle(self, uploaded: PhotoUploaded) -> None:
        """Order the rendering of the photo; ordering it twice is harmless."""
        order = RenderPhoto(job=uploaded.job, n=uploaded.n, epoch=uploaded.epoch)
        with tracing.span("plan", uploaded.job, uploaded.n, epoch=uploaded.epoch):
            await self._log.publish(lane(uploaded.n), [order])
