"""The example package, installed by pip into an environment of its own: everything of Ebbmark knows it."""

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ebbmark.settings import Settings
from tests.conftest import ROOT
from tests.people import Person, opened, photo
from tests.system import System

pytestmark = pytest.mark.servers

EXAMPLE = ROOT / "examples" / "ebbmark-vignette"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that has all that ours has, and the example, built and installed without a network."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    (site,) = (folder / "venv").glob("lib/python*/site-packages")
    ours = [path for path in sys.path if Path(path).is_dir()]
    (site / "ours.pth").write_text("\n".join(ours) + "\n")
    source = shutil.copytree(EXAMPLE, folder / "source")
    run(
        folder / "venv" / "bin" / "python",
        *("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"),
        *("--no-deps", "--no-build-isolation", str(source)),
    )
    return folder / "venv" / "bin" / "python"


def run(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def system_settings(room: Settings, python: Path) -> Iterator[Settings]:
    """Every process of Ebbmark runs in that environment; the servers are those of the other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("devstack.services.COMMAND", (str(python), "-m", "ebbmark.cli"))
        yield msgspec.structs.replace(
            room,
            worker=msgspec.structs.replace(room.worker, children=1),
            log=msgspec.structs.replace(room.log, format="console"),
        )


@pytest.fixture(scope="module")
def ann(running_system: System) -> Iterator[Person]:
    with Person(running_system.base_url) as person:
        yield person


def test_its_own_tests_pass_there(python: Path) -> None:
    told = run(
        python, "-m", "pytest", "--quiet", "--import-mode=importlib", "-p", "no:cacheprovider", EXAMPLE
    )
    assert " passed" in told


def test_the_page_has_its_fields_and_a_link_fills_them(ann: Person) -> None:
    page = ann.http.get("/", headers={"accept": "text/html"}).text
    assert 'name="vignette.strength"' in page
    assert "Let the corners of every photo fade." in page
    link = {"operations": "vignette", "strength": "0.35", "fade_to": "white"}
    filled = ann.http.get("/", params=link, headers={"accept": "text/html"}).text
    assert 'value="vignette" checked' in filled
    assert 'value="0.35"' in filled
    assert '<option value="white" selected>White</option>' in filled


def test_the_interface_describes_and_checks_it(ann: Person) -> None:
    (described,) = [each for each in ann.http.get("/operations").json() if each["name"] == "vignette"]
    assert described["parameters"]["properties"]["begin"]["maximum"] == 0.95
    refused = ann.post([("a.jpg", photo(64, 48))], operations="vignette", strength="2")
    assert refused.status_code == 422
    assert refused.json()["detail"] == "vignette: strength must be a number from 0 to 1."


def test_a_photo_gets_it_and_a_photo_that_it_refuses_fails_alone(ann: Person) -> None:
    photos = [("a.jpg", photo(640, 480)), ("small.jpg", photo(64, 48))]
    job = ann.send(photos, operations="vignette", strength="1", least_edge="100")
    done, refused = ann.wait_until_complete(job)["photos"]
    faded = opened(ann.http.get(done["url"]).content)
    assert max(faded.getpixel((1, 1))) < 40  # pyright: ignore[reportArgumentType] - RGB
    assert faded.getpixel((320, 240)) != faded.getpixel((1, 1))
    assert (refused["code"], refused["detail"]) == (
        "photo-too-small",
        "The photo has an edge of less than 100 pixels.",
    )
    assert refused["retryable"]


def test_the_command_line_has_its_flags(running_system: System, python: Path, tmp_path: Path) -> None:
    told = run(python, "-m", "ebbmark.cli", "send", "--help")
    assert "--vignette.strength" in told
    (tmp_path / "a.png").write_bytes(photo(320, 240, form="PNG"))
    address, out = running_system.base_url, tmp_path / "out"
    flags = ("--vignette.strength", "1", "--fade-to", "white", "--url", address, "--out", out, "--json")
    summary = json.loads(run(python, "-m", "ebbmark.cli", "send", tmp_path / "a.png", *flags))
    assert summary["done"] == 1
    assert min(opened((out / "a.png").read_bytes()).getpixel((0, 0))) > 220  # pyright: ignore[reportArgumentType] - RGB
