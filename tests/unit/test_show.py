"""`ebbmark recipe` spells out what a file, a link or JSON asks for, and says what is wrong with it."""

import json
from pathlib import Path

import pytest

from ebbmark import cli
from ebbmark.imaging.recipe import parse_recipe
from ebbmark.presets import shipped

GREY = '{"operations": [{"operation": "grayscale"}]}'


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> "Shown":
    return Shown(capsys, monkeypatch)


class Shown:
    """Runs the command as a person types it."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *words: str | Path) -> tuple[int, str, str]:
        line = ["recipe", *map(str, words)]
        self._monkeypatch.setattr("sys.argv", ["ebbmark", *line])
        code = cli.main(line)
        told = self._capsys.readouterr()
        return code, told.out, told.err


def test_a_recipe_is_spelt_out_from_json_a_file_or_a_link(shown: Shown, tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(GREY)
    link = "http://127.0.0.1:8000/?operations=grayscale"
    for what in (GREY, file, link):
        code, out, err = shown(what)
        assert (code, err) == (0, "")
        assert parse_recipe(out) == parse_recipe(GREY)
    _, out, _ = shown("/?operations=blur")
    assert json.loads(out) == {"operations": [{"operation": "blur", "radius": 0.01}]}


def test_a_link_may_name_a_preset_of_ours_or_of_an_operator(shown: Shown, tmp_path: Path) -> None:
    _, out, _ = shown("/?preset=web-proof&text=MINE")
    assert json.loads(out)["operations"][1]["text"] == "MINE"
    own = tmp_path / "own.toml"
    own.write_text('[grey]\ntitle = "Grey"\noperations = [{operation = "grayscale"}]\n')
    _, out, _ = shown("/?preset=grey", "--presets", own)
    assert parse_recipe(out) == parse_recipe(GREY)
    code, _, err = shown("/?preset=grey")
    assert (code, next(iter(shipped())) in err) == (2, True)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("{}", "A recipe is JSON such as"),
        ("/?operations=sharpest", "There is no operation 'sharpest'"),
        ("/?utm=1", "This link names no recipe"),
        ("/no/such/file.json", "No such file"),
        ('{"operations": [{"operation": "blur", "radius": 9}]}', "radius must be a number above 0 to 0.25."),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(shown: Shown, what: str, sentence: str) -> None:
    code, out, err = shown(what)
    assert (code, out) == (2, "")
    assert err.startswith("ebbmark recipe: ")
    assert sentence in err
