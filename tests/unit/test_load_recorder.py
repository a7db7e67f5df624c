"""Latency counts from the moment at which a request was due, whoever was late."""

import pytest

from loadtest.recorder import Recorder


def begun(seconds_ago: float) -> Recorder:
    recorder = Recorder()
    recorder.began -= seconds_ago
    return recorder


def test_a_request_that_was_sent_late_took_as_long_as_its_sender_would_have_waited() -> None:
    recorder = begun(5.0)
    recorder.answered(recorder.asked("upload", "accept", 2.0), "ok")
    (sample,) = recorder.samples
    assert sample.seconds >= sample.late >= 3.0
    assert sample.planned == 2.0
    assert recorder.counts["late"] == 1


def test_a_request_that_was_sent_in_time_is_not_late() -> None:
    recorder = begun(5.0)
    recorder.answered(recorder.asked("upload", "accept", recorder.now()), "ok")
    assert recorder.counts["late"] == 0


def test_a_look_that_waited_for_the_one_before_is_slow_and_not_the_generator_s_fault() -> None:
    recorder = begun(5.0)
    recorder.answered(recorder.asked("status", "status", 2.0), "ok")
    assert recorder.samples[0].seconds >= 3.0
    assert recorder.counts["late"] == recorder.counts["asked"] == 0


def test_a_refusal_an_error_and_a_wrong_result_are_told_apart() -> None:
    recorder = begun(1.0)
    recorder.answered(recorder.asked("upload", "accept", 0.0), "refused", "refused")
    recorder.answered(recorder.asked("upload", "accept", 0.0), "error", "server")
    recorder.undone(0.0, 0.0, "lost")
    recorder.undone(0.0, 0.0, "wrong-size")
    counts = recorder.counts
    assert (counts["asked"], counts["accepted"], counts["refused"], counts["errors"], counts["wrong"]) == (
        *(2, 0, 1, 2),
        1,
    )
    assert [each.reason for each in recorder.samples] == ["refused", "server", "lost", "wrong-size"]


def test_locust_hears_of_each_answer_in_milliseconds() -> None:
    heard: list[dict[str, object]] = []
    recorder = Recorder(lambda **told: heard.append(told))
    recorder.began -= 2.0
    recorder.answered(recorder.asked("status", "status", 1.0), "error", "timeout")
    (told,) = heard
    assert told["response_time"] == pytest.approx(1000 * recorder.samples[0].seconds)
    assert (told["name"], told["exception"]) == ("status", "timeout")
