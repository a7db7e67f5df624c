"""The topics, their keys, and events on the wire."""

import json
from collections.abc import Callable
from datetime import datetime
from uuid import UUID, uuid4

import pytest

from ebbmark.errors import MalformedEvent
from ebbmark.events import (
    DeadLetter,
    Event,
    JobCompleted,
    PhotoFailed,
    PhotoRendered,
    PhotoUploaded,
    RenderPhoto,
)
from ebbmark.topics import BULK, DEAD_LETTERS, EXPRESS, JOBS, STATUSES, TOPICS, UPLOADS, Topic, lane

JOB = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
LETTER = DeadLetter(
    reason="malformed-event",
    attempts=1,
    first_seen=datetime.fromisoformat("2026-05-01T00:00:00Z"),
    last_seen=datetime.fromisoformat("2026-05-01T00:00:01Z"),
    topic="uploads",
    partition=3,
    offset=4,
    original=b"\xff\x00",
)


def test_no_two_topics_share_a_name() -> None:
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)


def test_the_first_sixteen_photos_of_a_job_take_the_express_lane() -> None:
    assert [lane(n) for n in (0, 15, 16, 499)] == [EXPRESS, EXPRESS, BULK, BULK]


def test_an_order_is_keyed_by_its_photo_so_that_a_job_spreads_over_all_workers() -> None:
    assert {EXPRESS.key(RenderPhoto(job=JOB, n=n)) for n in range(3)} == {f"{JOB}/{n}" for n in range(3)}


def test_what_happens_to_a_job_is_keyed_by_it_so_that_it_stays_in_order() -> None:
    assert {UPLOADS.key(PhotoUploaded(job=JOB, n=n)) for n in range(3)} == {str(JOB)}


def test_a_dead_letter_without_a_photo_is_keyed_by_where_it_came_from() -> None:
    assert DEAD_LETTERS.key(LETTER) == "uploads/3"


def test_an_event_is_one_json_object_that_says_its_type() -> None:
    wire = json.loads(UPLOADS.encode(PhotoUploaded(job=JOB, n=2, epoch=1)))
    assert wire == {"type": "PhotoUploaded", "job": str(JOB), "n": 2, "epoch": 1}


@pytest.mark.parametrize(
    ("topic", "event"),
    [
        (JOBS, JobCompleted(job=JOB, epoch=1, done=2, failed=3)),
        (STATUSES, PhotoFailed(job=JOB, n=1, fence=2, code="corrupt", detail="It is damaged: ü.")),
        (
            STATUSES,
            PhotoRendered(
                job=JOB, n=1, fence=3, width=4, height=5, size=6, thumbnail_size=7, media_type="image/png"
            ),
        ),
        (DEAD_LETTERS, LETTER),
    ],
    ids=lambda each: each.name if isinstance(each, Topic) else type(each).__name__,
)
def test_every_event_survives_the_wire(topic: Topic[Event], event: Event) -> None:
    assert topic.decode(topic.encode(event)) == event


@pytest.mark.parametrize(
    "value",
    [None, b"", b"{", b"[]", b'{"type":"RenderPhoto"}', b'{"type":"PhotoUploaded","job":"x","n":0}', b"\xff"],
)
def test_what_is_no_event_of_the_topic_is_malformed(value: bytes | None) -> None:
    with pytest.raises(MalformedEvent):
        UPLOADS.decode(value)


def test_unknown_fields_of_a_newer_version_are_ignored() -> None:
    job = uuid4()
    newer = f'{{"type":"PhotoUploaded","job":"{job}","n":4,"colour":"blue"}}'.encode()
    assert UPLOADS.decode(newer) == PhotoUploaded(job=job, n=4, epoch=0)


def test_an_event_before_its_epoch_was_added_is_of_the_first() -> None:
    decode: Callable[[bytes], RenderPhoto] = BULK.decode
    assert decode(f'{{"type":"RenderPhoto","job":"{JOB}","n":4}}'.encode()).epoch == 0
