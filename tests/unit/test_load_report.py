"""What load tests found is one page that needs nothing else, a table in the README, and JSON."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest import record, report, samples, table
from loadtest.options import as_arguments
from loadtest.samples import Sample
from loadtest.shapes import SHAPES
from loadtest.verdicts import as_json
from tests.unit.test_load_figures import photos, run

ROOT = Path(__file__).parents[2]


def kept(folder: Path, taken: list[Sample], **more: object) -> Path:
    """Keep a run as the command does."""
    found = run(taken) | {
        "options": {"rate": 10.0},
        "mix": "0.3MP",
        "watch": "events",
        "url": "http://127.0.0.1:8000",
    }
    found |= {"verdicts": as_json(found)} | more
    path = record.keep("report", found, of="steady30", folder=folder)
    samples.write(path.with_name(f"{path.name}.csv.gz"), taken)
    return path


def test_the_page_has_verdicts_plots_and_the_machine_and_loads_nothing(tmp_path: Path) -> None:
    page = report.page([report.load(kept(tmp_path, photos(50)))])
    assert page.count("<svg") >= 5
    for part in ("steady30", "kept", "accept, p95", "cores", "Asked and served", record.commit()):
        assert part in page
    assert re.findall(r"<(?:script|link|img|iframe)|url\((?!#)|@import", page) == []
    assert re.findall(r"(?:src|href)=\"(?!#)[^\"]*\"", page) == []


def test_a_broken_promise_stands_out(tmp_path: Path) -> None:
    page = report.page([report.load(kept(tmp_path, photos(50, accept=0.5)))])
    assert 'class="BROKEN">BROKEN' in page


def test_several_runs_are_compared_on_one_page(tmp_path: Path) -> None:
    loaded = report.load(kept(tmp_path, photos(20)))
    assert "upload → result p95" in report.page([loaded, loaded])


def test_any_file_of_a_run_names_it_and_another_one_is_refused(tmp_path: Path) -> None:
    path = kept(tmp_path, photos(10))
    for ending in (".json", ".md", ".csv.gz"):
        found, taken = report.load(path.with_name(path.name + ending))
        assert (found["shape"], len(taken)) == ("steady30", 20)
    (tmp_path / "other.json").write_text("{}")
    for wrong in ("other.json", "none.json"):
        with pytest.raises(report.UnreadableError, match=wrong):
            report.load(tmp_path / wrong)


def test_a_run_is_kept_with_its_commit_its_command_and_its_machine(tmp_path: Path) -> None:
    found, _ = report.load(kept(tmp_path, photos(10)))
    assert found["commit"] == record.commit()
    assert found["command"].startswith("python ")
    assert found["machine"]["cores"]


def test_analyze_prints_the_verdicts_as_json_and_ends_with_1_when_one_is_broken(tmp_path: Path) -> None:
    paths = [kept(tmp_path / "a", photos(20)), kept(tmp_path / "b", photos(20, done=3))]
    command = [sys.executable, "-m", "loadtest", "analyze", *paths, "--out", tmp_path / "page.html"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert [each["verdict"] for each in json.loads(done.stdout)] == ["kept", "BROKEN"], done.stderr
    assert done.returncode == 1
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!doctype html>")


def test_the_tables_of_readme_and_manual_are_made_of_the_kept_results() -> None:
    for page, tables in table.pages().items():
        text = page.read_text("utf-8")
        assert table.replaced(text, tables) == text


def test_the_table_has_the_newest_whole_run_of_each_shape(tmp_path: Path) -> None:
    kept(tmp_path, photos(20), commit="old", at="2026-01-01T00:00:00+00:00")
    (tmp_path / "copy.json").write_text(
        next(tmp_path.glob("*steady30.json"))
        .read_text("utf-8")
        .replace('"old"', '"new"')
        .replace("2026-01", "2026-02")
    )
    (tmp_path / "part.json").write_text(
        (tmp_path / "copy.json")
        .read_text("utf-8")
        .replace("2026-02", "2026-03")
        .replace('"new"', '"part"')
        .replace('"whole": true', '"whole": false', 1)
    )
    compared = (tmp_path / "copy.json").read_text("utf-8").replace("2026-02", "2026-04")
    (tmp_path / "of-a-comparison.json").write_text(compared.replace('"new"', '"compared", "renderers": 2'))
    (tmp_path / "bench.json").write_text('{"rows": []}')
    (newest,) = table.newest(tmp_path)
    assert newest["commit"] == "new"
    assert "| `steady30` | 2.0 | " in table.table([newest])


def test_every_shape_says_on_the_command_line_what_it_takes() -> None:
    from loadtest.__main__ import _parser  # noqa: PLC0415 - the command itself

    for name, shape in SHAPES.items():
        words = [word for option in shape.options for word in (f"--{option.replace('_', '-')}", "3")]
        args = _parser().parse_args(["run", name, *words, "--poisson"])
        assert all(getattr(args, option) == 3 for option in shape.options)
        again = _parser().parse_args(["run", *as_arguments(args)])
        assert vars(again) == vars(args)


def test_nothing_but_the_generator_lets_locust_change_the_standard_library() -> None:
    look = "import sys, loadtest.__main__, loadtest.table, loadtest.compare; print('gevent' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
