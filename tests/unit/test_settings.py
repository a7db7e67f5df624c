"""Settings from the environment."""

from datetime import timedelta
from pathlib import Path

import pytest

from ebbmark.settings import Job, Kafka, Log, Settings, SettingsError, Worker, variables
from tests.system import environment


def test_without_any_variable_the_defaults_hold() -> None:
    assert Settings.from_env({"PATH": "/bin"}) == Settings()


def test_durations_are_iso_8601_and_numbers_are_numbers() -> None:
    settings = Settings.from_env(
        {"EBBMARK_JOB_TTL": "PT20S", "EBBMARK_JOB_FILES": "3", "EBBMARK_HTTP_PORT": "9000"}
    )
    assert (settings.job.ttl, settings.job.files, settings.http.port) == (timedelta(seconds=20), 3, 9000)


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    said = "from a file"
    secret.write_text(f"{said}\n")
    assert Settings.from_env({"EBBMARK_STORE_SECRET_KEY_FILE": str(secret)}).store.secret_key == said


def test_a_value_that_is_said_here_and_in_a_file_is_a_problem(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    said = "from a file"
    secret.write_text(said)
    both = {"EBBMARK_STORE_SECRET_KEY": "said", "EBBMARK_STORE_SECRET_KEY_FILE": str(secret)}
    with pytest.raises(SettingsError, match="EBBMARK_STORE_SECRET_KEY_FILE: EBBMARK_STORE_SECRET_KEY is set"):
        Settings.from_env(both)
    # As .env.example spells what is not set.
    assert Settings.from_env({**both, "EBBMARK_STORE_SECRET_KEY": ""}).store.secret_key == said


def test_every_problem_is_listed_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as wrong:
        Settings.from_env(
            {
                "EBBMARK_JOB_TTL": "3600",
                "EBBMARK_HTTP_PORT": "70000",
                "EBBMARK_JOB_FILES": "many",
                "EBBMARK_TYPO": "1",
                "EBBMARK_LEDGER_PASSWORD_FILE": str(tmp_path / "missing"),
            }
        )
    lines = str(wrong.value).splitlines()
    assert len(lines) == 5
    assert all(line.startswith("EBBMARK_") for line in lines)


@pytest.mark.parametrize("name", ["EBBMARK_PROCESS_STALL", "EBBMARK_JANITOR_STALL"])
def test_nothing_is_ended_for_standing_still_before_it_could_move(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: Expected a duration above zero"):
        Settings.from_env({name: "PT0S"})


def test_what_is_written_as_variables_is_read_back() -> None:
    settings = Settings()
    assert set(environment(settings)) == set(variables())
    assert Settings.from_env(environment(settings)) == settings


def test_settings_far_from_the_defaults_are_read_back_too() -> None:
    settings = Settings(
        job=Job(ttl=timedelta(days=2, seconds=3, milliseconds=250)),
        kafka=Kafka(prefix="a prefix with = and 'quotes'."),
        worker=Worker(children=7),
        log=Log(level="debug", format="console"),
    )
    assert Settings.from_env(environment(settings)) == settings


@pytest.mark.parametrize("value", ["", "1h", "-PT1H", "PT1X"])
def test_what_is_no_duration_is_said_with_an_example(value: str) -> None:
    with pytest.raises(SettingsError, match="EBBMARK_JOB_TTL"):
        Settings.from_env({"EBBMARK_JOB_TTL": value})


def test_the_end_of_a_secret_file_is_kept_but_for_its_line_break(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("two words \n")
    read = Settings.from_env({"EBBMARK_LEDGER_PASSWORD_FILE": str(secret)})
    assert read.ledger.password == "two words "  # noqa: S105 - of nobody
