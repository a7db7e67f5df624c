"""What measures and shows Ebbmark gives up in a sentence when nobody is there any more."""

import httpx
import pytest

from loadtest import demo
from loadtest.client import AwayError, Client
from tests.unit.fake_ebbmark import JOB, FakeEbbmark, serving

FIELDS = {"operations": "grayscale"}


@pytest.mark.parametrize("trouble", [{"busy": 2}, {"drops": 2}])
def test_a_folder_gets_through_to_a_server_that_is_busy_or_away_for_a_while(trouble: dict[str, int]) -> None:
    with serving(FakeEbbmark(**trouble)) as server:
        client = Client(server.url)
        assert client.send_folder([("a.jpg", b"a")], FIELDS) == JOB
        client.close()
    assert (server.total, len(server.keys), len(set(server.keys))) == (1, 3, 1)


@pytest.mark.parametrize(("trouble", "sentence"), [("busy", "answers 429"), ("drops", "Nobody answers")])
def test_a_server_that_stays_busy_or_away_is_given_up(
    trouble: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtest.client._TRIES", 2)
    with serving(FakeEbbmark(**{trouble: 1000})) as server:  # pyright: ignore[reportArgumentType]
        client = Client(server.url)
        with pytest.raises(AwayError, match=sentence):
            client.insist("GET", JOB)
        client.close()
    assert server.asked[f"GET {JOB}"] == 2


def test_a_server_that_asks_for_a_day_is_not_given_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.client._LONGEST_PAUSE", 0.01)
    with serving(FakeEbbmark(busy=1, retry_after=86400)) as server:
        client = Client(server.url)
        assert client.insist("GET", JOB).is_success
        client.close()


def test_what_no_repeat_will_change_is_raised() -> None:
    with serving(FakeEbbmark(most=0)) as server:
        client = Client(server.url)
        with pytest.raises(httpx.HTTPStatusError):
            client.insist("PUT", f"{JOB}/photos/0", content=b"x", headers={"x-filename": "a"})
        client.close()


def test_the_demo_ends_with_3_when_the_server_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("loadtest.client._TRIES", 2)
    with serving(FakeEbbmark(drops=1000)) as server:
        monkeypatch.setattr("sys.argv", ["demo", "--url", server.url, "--count", "1"])
        assert demo.main() == 3
    assert capsys.readouterr().err == f"Nobody answers at {server.url} any more.\n"
