"""What is planted against an invariant is found, and what mends it is seen, too."""

from random import Random

import pytest

from tests.chaos import leftovers
from tests.chaos.arena import Arena
from tests.chaos.invariants import Onlooker
from tests.chaos.photos import MARKER, make
from tests.chaos.sent import Sent
from tests.chaos.verdicts import Verdict, lines, said_by, stays

pytestmark = [pytest.mark.servers, pytest.mark.timeout(120)]


@pytest.fixture
def job(chaos: Arena) -> str:
    """A job that has just completed, so that it lives for a minute."""
    assert chaos.probe() is not None
    ((job,),) = chaos.ledger(
        "select id::text from jobs where state = 'complete' and done > 0 order by completed_at desc limit 1"
    )
    return job


@pytest.fixture
def onlooker(chaos: Arena, job: str) -> Onlooker:
    """One who saw the job when all was well."""
    del job
    onlooker = Onlooker(chaos)
    assert found(onlooker.meanwhile()) == set()
    return onlooker


def found(verdicts: list[Verdict]) -> set[str]:
    return {verdict.invariant for verdict in verdicts if verdict.violations}


def test_a_photo_that_is_not_done_any_more_is_found(chaos: Arena, onlooker: Onlooker, job: str) -> None:
    change = "update photos set state = %s, result_size = result_size where job = %s and n = 0 returning 1"
    chaos.ledger(change, "retrying", job)
    seen = found(onlooker.meanwhile())
    chaos.ledger(change, "done", job)
    assert seen == {"I2", "I3", "I16"}
    assert found(onlooker.meanwhile()) == set()


def test_a_photo_that_ended_otherwise_is_found(chaos: Arena, onlooker: Onlooker, job: str) -> None:
    change = "update photos set result_size = result_size + %s where job = %s and n = 0 returning 1"
    chaos.ledger(change, 1, job)
    seen = found(onlooker.meanwhile())
    chaos.ledger(change, -1, job)
    assert seen == {"I16"}


def test_a_result_that_is_missing_or_another_is_found(chaos: Arena, onlooker: Onlooker, job: str) -> None:
    place = {"Bucket": chaos.direct.store.bucket, "Key": f"jobs/{job}/results/0/0"}
    kept = onlooker.s3.get_object(**place)
    content = kept["Body"].read()
    onlooker.s3.delete_object(**place)
    assert found(onlooker.meanwhile()) == {"I3"}
    onlooker.s3.put_object(**place, Body=content + b"!", Metadata=kept["Metadata"])
    assert found(onlooker.meanwhile()) == {"I3"}
    onlooker.s3.put_object(**place, Body=content, Metadata=kept["Metadata"])
    assert found(onlooker.meanwhile()) == set()


def test_bytes_of_a_photo_on_a_disk_are_found_unless_they_belong_to_no_file(
    chaos: Arena, onlooker: Onlooker
) -> None:
    """The photos of other tests are about as well, so what is planted has a mark of its own."""
    kept, left = b"\xff\xd8" + MARKER + b"-planted-kept", b"\xff\xd8" + MARKER + b"-planted-left"
    bucket = chaos.direct.store.bucket
    onlooker.s3.put_object(Bucket=bucket, Key="planted.jpg", Body=kept, ContentType="image/jpeg")
    leftovers.make(chaos.system.stack, left, collection=bucket)
    try:
        assert onlooker.on_disk().violations
        volumes = [path.read_bytes() for path in chaos.system.stack.data.rglob("*.dat")]
        assert [any(each in volume for volume in volumes) for each in (kept, left)] == [True, False]
    finally:
        onlooker.s3.delete_object(Bucket=bucket, Key="planted.jpg")


def test_a_client_says_what_it_sees(chaos: Arena) -> None:
    client, rng = chaos.client, Random(1)
    sent = Sent(-1, "form", [make(rng, "a", small=True), make(rng, "b", small=True)], "key")
    row = {"n": 0, "state": "done", "code": None, "detail": "It fell.", "fix": "Lift it."}
    status = {"state": "complete", "version": 7, "total": 2, "done": 2, "failed": 0}
    known = list(client.violations)
    try:
        client._judge(sent, status | {"photos": [row, row | {"n": 1}]})  # noqa: SLF001 - how it judges is what is tested
        assert client.violations == known
        client._judge(sent, status | {"photos": [row, row | {"n": 1, "state": "failed", "code": "poison"}]})  # noqa: SLF001
        client.seen(sent, status)
        client.seen(sent, status | {"version": 6})
        rows = [row, row | {"n": 1, "state": "failed", "code": "cancelled"}]
        assert [invariant for invariant, _ in client.violations[len(known) :]] == ["I1", "I2", "I7"]
        del client.violations[len(known) :]
        cancelled = status | {"done": 1, "failed": 1, "photos": rows}
        sent.cancelled = {1}
        client._judge(sent, cancelled)  # noqa: SLF001
        assert client.violations == known
        sent.cancelled, rows[1]["fix"] = set(), ""
        client._judge(sent, cancelled)  # noqa: SLF001
        assert [invariant for invariant, _ in client.violations[len(known) :]] == ["I5", "I1"]
    finally:
        client.violations[:] = known


def test_an_audit_that_finds_something_is_found(chaos: Arena, onlooker: Onlooker) -> None:
    assert [
        line["event"] for line in lines(said_by(chaos.logs, "janitor")) if "audit" in str(line.get("event"))
    ]
    assert not [what for what in onlooker.audits().violations if "objects" not in what]
    place = {"Bucket": chaos.direct.store.bucket, "Key": "of-nobody.txt"}
    onlooker.s3.put_object(**place, Body=b"?")
    try:
        assert any("foreign: 1" in what for what in onlooker.audits().violations)
    finally:
        onlooker.s3.delete_object(**place)


def test_a_job_that_is_served_when_it_is_over_is_found(chaos: Arena) -> None:
    client = chaos.client
    sent = client.send("form", count=2)
    assert chaos.until(lambda: sent.expires_at > 0, within=60)
    known = list(client.violations)
    others = [each for each in client.log if not (each.buried or each is sent)]
    try:
        client.bury()
        assert [invariant for invariant, _ in client.violations[len(known) :]][-1:] == ["I10"]
    finally:
        client.violations[:] = known
        for each in (sent, *others):
            each.buried = False


def test_a_photo_that_failed_may_begin_another_round_and_one_that_is_done_may_not() -> None:
    failed, done = (0, "failed", "corrupt"), (0, "done", None)
    assert stays(failed, failed)
    assert stays(failed, (1, "done", None))
    assert not stays(failed, done)
    assert not stays(failed, None)
    assert not stays(done, (1, "done", None))
