"""Renderers are compared once each has its share, and by what was kept of each."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ebbmark.topics import BULK, EXPRESS
from loadtest import renderers, table
from tests.serving import serving


def test_the_lanes_are_those_of_the_system() -> None:
    assert {lane.name: lane.partitions for lane in (EXPRESS, BULK)} == dict.fromkeys(
        renderers.LANES, renderers.PARTITIONS
    )


@pytest.mark.parametrize(
    ("partitions", "they_share"),
    [
        ([24], True),
        ([12, 12], True),
        ([24, 0], False),  # it has not been admitted
        ([24, 12], False),  # the first shows what it had before the second came
        ([11, 12], False),
    ],
)
def test_they_share_a_lane_when_each_has_some_of_it_and_all_of_it_is_taken(
    partitions: list[float],
    they_share: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert renderers.shared(partitions) is they_share


class Worker(ThreadingHTTPServer):
    """Shows metrics of a worker that was alone before."""

    looks = 0

    def __init__(self, now: int) -> None:
        super().__init__(("127.0.0.1", 0), _Metrics)
        self.now = now


class _Metrics(BaseHTTPRequestHandler):
    server: Worker

    def do_GET(self) -> None:
        self.server.looks += 1
        count = 24 if self.server.looks < 4 else self.server.now
        self.send_response(200)
        self.end_headers()
        for lane in ("express", "bulk"):
            labels = f'{{agent="renderer-{lane}",topic="tasks.{lane}"}}'
            self.wfile.write(f"ebbmark_consumer_partitions{labels} {count}\n".encode())
        self.wfile.write(b"ebbmark_photos_rendered_total 7.0\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    one, other = Worker(11), Worker(13)
    with serving(one), serving(other):
        yield [one, other]


def test_nothing_is_measured_before_every_renderer_has_its_share(workers: list[Worker]) -> None:
    urls = [f"http://127.0.0.1:{each.server_port}/metrics" for each in workers]
    renderers.wait_until_shared(urls)
    assert all(each.looks >= 4 for each in workers)
    assert [renderers.rendered(url) for url in urls] == [7, 7]


def test_renderers_that_do_not_come_end_it(workers: list[Worker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderers, "_WITHIN", 0.3)
    urls = [f"http://127.0.0.1:{workers[0].server_port}/metrics", "http://127.0.0.1:1/metrics"]
    with pytest.raises(SystemExit, match="2 renderers do not share"):
        renderers.wait_until_shared(urls)


def test_a_comparison_of_other_photos_is_not_shown_in_the_manual(tmp_path: Path) -> None:
    (tmp_path / "old-compare.json").write_text('{"at": "2026", "rows": [{"shape": "bulk"}]}')
    assert table.comparison(tmp_path) == "It was not measured yet."
