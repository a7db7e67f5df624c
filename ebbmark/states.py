"""The two state machines: a job's and a photo's. The ledger is the only place that moves them.

A job:    open → rendering → complete → expiring → expired
          open → expiring (abandoned), and any living state → expiring (deleted by its owner, or a form that
          was sealed and never accepted)
          complete → rendering (failed photos begin a new round)
A photo:  queued → rendering → done | failed, with rendering → retrying → queued in between
          failed → queued (a new round)
"""

from enum import StrEnum


class JobState(StrEnum):
    """Where a job is.

    `open`: being filled; `rendering`: sealed; `complete`: every photo is done or failed;
    `expiring`: its links are dead, its objects are being deleted; `expired`: nothing is left.
    """

    OPEN = "open"
    RENDERING = "rendering"
    COMPLETE = "complete"
    EXPIRING = "expiring"
    EXPIRED = "expired"


class PhotoState(StrEnum):
    """`done` and `failed` are terminal: within a round nothing moves a photo out of them.

    A cancelled photo is `failed` with the code `cancelled`, so that done + failed = total stays the sign
    of a complete job.
    """

    QUEUED = "queued"
    RENDERING = "rendering"
    RETRYING = "retrying"
    DONE = "done"
    FAILED = "failed"


LIVE_JOB_STATES = frozenset({JobState.OPEN, JobState.RENDERING, JobState.COMPLETE})
TERMINAL_PHOTO_STATES = frozenset({PhotoState.DONE, PhotoState.FAILED})
