"""What a client waits for after its last byte is measured, whichever way it sends."""

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest
from prometheus_client import REGISTRY

from ebbmark.settings import Http
from ingest.backlog import show_disk
from observability import tracing
from tests.people import photo
from tests.unit.visits import END, House, field, file

GREY = field("operations", "grayscale")


def seen(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


def accepts() -> tuple[float, float]:
    """How many were accepted, and the seconds they took in all."""
    return seen("ebbmark_accept_seconds_count"), seen("ebbmark_accept_seconds_sum")


async def test_a_form_is_measured_from_its_last_photo_on() -> None:
    house, clock = House(), asyncio.get_running_loop().time
    count, seconds = accepts()
    form = house.form(GREY, file(photo(64, 48)))
    await asyncio.sleep(0.1)  # a slow line is not ours
    began = clock()
    form.send(file(photo(64, 48, seed=1)) + END)
    form.end()
    assert (await form.answer()).status == 202
    assert accepts()[0] == count + 1
    assert accepts()[1] - seconds <= clock() - began


async def test_a_photo_sent_alone_is_measured() -> None:
    house = House()
    opened = await house.form(GREY, END).answer()
    count, _ = accepts()
    sent = await house.visit("PUT", f"/jobs/{opened.json['job_id']}/photos/0", photo(64, 48)).answer()
    assert sent.status == 201
    assert accepts()[0] == count + 1


async def test_what_is_not_accepted_is_not_measured() -> None:
    house = House()
    count, _ = accepts()
    assert (await house.form(GREY, file(b"no photo"), END).answer()).status == 415
    assert (await house.form(GREY, END).answer()).status == 202  # a job to be filled
    assert accepts()[0] == count


def test_the_spool_s_room_is_told_as_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show_disk(msgspec.structs.replace(Http(), spool=str(tmp_path), spool_free=4096))
    assert seen("ebbmark_spool_least_bytes") == 4096
    assert seen("ebbmark_spool_free_bytes") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: (_ for _ in ()).throw(OSError))
    assert seen("ebbmark_spool_free_bytes") == 0


def queued() -> float:
    """How many photos have been counted as taken in."""
    return seen("ebbmark_photos_accepted_total")


async def test_what_is_refused_in_a_form_is_not_counted_as_queued() -> None:
    house, before = House(), queued()
    sent = await house.form(GREY, file(photo(64, 48)), file(b"no photo", "b.txt"), END).answer()
    assert sent.status == 202
    assert queued() == before + 1


async def test_a_photo_sent_alone_is_counted_once_however_often_it_comes() -> None:
    house, before = House(), queued()
    opened = await house.form(GREY, END).answer()
    place = f"/jobs/{opened.json['job_id']}/photos/0"
    assert [(await house.visit("PUT", place, photo(64, 48)).answer()).status for _ in range(3)] == [201] * 3
    assert queued() == before + 1


async def test_a_photo_refused_alone_is_never_counted() -> None:
    house, before = House(), queued()
    opened = await house.form(GREY, END).answer()
    place = f"/jobs/{opened.json['job_id']}/photos/0"
    assert [(await house.visit("PUT", place, b"no photo").answer()).status for _ in range(2)] == [415] * 2
    assert queued() == before


async def test_photos_whose_recipe_names_their_number_are_counted_with_the_seal() -> None:
    house, before = House(), queued()
    numbered = field("operations", "watermark") + field("text", "{n}/{total}")
    job = (await house.form(numbered, END).answer()).json["job_id"]
    for n in range(2):
        sent = await house.visit("PUT", f"/jobs/{job}/photos/{n}", photo(64, 48, seed=n)).answer()
        assert sent.status == 201
    assert queued() == before
    for _ in range(2):  # sealing is repeatable
        sealed = await house.visit("POST", f"/jobs/{job}/seal", b'{"total": 2}').answer()
        assert sealed.status < 300
    assert queued() == before + 2


def latest_traces() -> set[str]:
    """Whose trace the latencies of acceptances lead to: of each bucket the latest."""
    return {
        sample.exemplar.labels["trace_id"]
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "ebbmark_accept_seconds_bucket" and sample.exemplar
    }


async def test_the_time_of_an_acceptance_leads_to_the_photo_s_trace() -> None:
    house, spans = House(), list[tracing.Span]()
    with tracing.collecting(spans.append):
        sent = house.form(GREY, file(photo(64, 48)), file(photo(64, 48, seed=1)), file(b"no photo"), END)
        assert (await sent.answer()).status == 202
        assert f"{spans[-1].trace:032x}" in latest_traces(), "of the last photo"
        opened = await house.form(GREY, END).answer()
        place = f"/jobs/{opened.json['job_id']}/photos/0"
        assert (await house.visit("PUT", place, photo(64, 48)).answer()).status == 201
        assert spans[-1].name == "accept"
        assert f"{spans[-1].trace:032x}" in latest_traces()
