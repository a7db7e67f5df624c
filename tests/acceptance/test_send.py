"""`ebbmark send`, as a person types it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ebbmark.imaging.header import PHOTOS
from tests.people import Person, opened, photo
from tests.system import System
from tests.unit.imaging.photos import changed, flat, saved

pytestmark = pytest.mark.servers


def send(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ebbmark.cli", "send", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    (photos / "Гора.JPG").write_bytes(photo(900, 600))
    (photos / "more" / "Гора.JPG").write_bytes(photo(900, 600, seed=4))
    (photos / "notes.txt").write_text("not a photo")
    return photos


def test_a_folder_comes_back_marked_under_its_names(
    running_system: System, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "marked"
    sent = send(
        folder, "--url", running_system.base_url, "--text", "© Ann", "--width", "300", "--out", out, "--json"
    )
    assert sent.returncode == 0, sent.stderr
    summary = json.loads(sent.stdout)
    assert (summary["total"], summary["done"], summary["failed"]) == (2, 2, 0)
    assert {path.name for path in out.iterdir()} == {"Гора.JPG", "Гора (2).JPG"}
    assert all(opened(path.read_bytes()).size == (300, 200) for path in out.iterdir())
    assert "2 of 2 done" in sent.stderr
    again = send(folder, "--url", running_system.base_url, "--grayscale", "--out", out)
    assert again.returncode == 0
    assert len(list(out.iterdir())) == 4


def test_a_text_and_a_logo_are_marks_of_their_own(
    running_system: System, folder: Path, tmp_path: Path
) -> None:
    logo, out = tmp_path / "logo.png", tmp_path / "marked"
    logo.write_bytes(saved(flat((60, 60), "red"), "PNG"))
    sent = send(
        *(folder / "Гора.JPG", "--url", running_system.base_url, "--out", out, "--logo", logo),
        *("--text", "© Ann", "--position", "top-left", "--opacity", "1"),
        *("--watermark.2.logo", "--watermark.2.position", "bottom-right", "--watermark.2.opacity", "1"),
    )
    assert sent.returncode == 0, sent.stderr
    before, after = photo(900, 600), (out / "Гора.JPG").read_bytes()
    left_top, right_bottom, between = (0, 0, 300, 150), (600, 450, 900, 600), (0, 200, 900, 400)
    text, logo_box, rest = (
        changed(opened(before).crop(box), opened(after).crop(box), by_more_than=90)
        for box in (left_top, right_bottom, between)
    )
    assert text
    assert logo_box
    assert not rest
    red, green, blue = opened(after).getpixel((860, 570))
    assert (red > 230, green < 25, blue < 25) == (True, True, True)


def test_one_bad_photo_is_named_and_the_others_come_back(
    running_system: System, folder: Path, tmp_path: Path
) -> None:
    (folder / "bad.jpg").write_bytes(b"not a photo at all")
    (folder / "half.jpg").write_bytes(photo()[:3000])
    sent = send(folder, "--url", running_system.base_url, "--grayscale", "--out", tmp_path / "out")
    assert sent.returncode == 1
    assert f"bad.jpg: This is no photo of a kind that is read: {PHOTOS}. (unsupported-format)" in sent.stderr
    assert "half.jpg: " in sent.stderr
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_what_the_server_refuses_or_the_person_got_wrong_is_said_in_a_sentence(
    running_system: System, folder: Path
) -> None:
    url = running_system.base_url
    refused = send(folder, "--url", url, "--width", "-4")
    assert (refused.returncode, "(invalid-parameter)" in refused.stderr) == (2, True)
    assert send(folder / "nothing.jpg", "--url", url, "--grayscale").returncode == 2
    assert "say what to do" in send(folder, "--url", url).stderr
    assert send(folder, "--format", "gif").returncode == 2
    nobody = send(folder, "--url", "http://127.0.0.1:9", "--grayscale")
    assert nobody.returncode == 3
    assert nobody.stderr.endswith("ebbmark send: nobody answers at http://127.0.0.1:9\n")


def test_odd_names_come_back_as_the_archive_has_them(
    running_system: System, folder: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(
        [b"\xe9t\xe9.jpg", "a\u2028b.jpg".encode(), b"ab.JPG", b"c?.jpg", b"c_.jpg"]
    ):
        (folder / os.fsdecode(name)).write_bytes(photo(200, 100, seed=number))
    out = tmp_path / "marked"
    sent = send(folder, "--url", running_system.base_url, "--grayscale", "--out", out, "--json")
    assert sent.returncode == 0, sent.stderr
    summary = json.loads(sent.stdout)
    job = summary["job"].removeprefix(running_system.base_url)
    with Person(running_system.base_url) as person:
        archive = person.archive(job)
    told = {each["n"]: each["file"] for each in json.loads(archive["manifest.json"])["photos"]}
    saved = {each["n"]: Path(each["file"]).name for each in summary["files"]}
    assert (len(saved), saved) == (7, told)
    assert {name: (out / name).read_bytes() for name in told.values()} == {
        name: archive[name] for name in told.values()
    }


def test_ctrl_c_while_photos_go_deletes_the_job(running_system: System, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(60):
        (many / f"{number}.jpg").write_bytes(photo(120, 80, seed=number))
    arguments = [str(many), "--url", running_system.base_url, "--grayscale", "--out", str(tmp_path), "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "ebbmark.cli", "send", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as command:
        assert command.stderr is not None
        link = command.stderr.readline().removeprefix("the job is at ").strip()
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=60)
    assert (command.returncode, err.endswith("ebbmark send: interrupted; the job is deleted\n")) == (
        130,
        True,
    )
    summary = json.loads(out)
    assert (summary["job"], summary["state"]) == (link, "deleted")
    with Person(running_system.base_url) as person:
        assert person.http.get(link).status_code in {410, 404}, (
            "dead at once, and soon as if it had never been"
        )
