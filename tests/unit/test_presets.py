"""Presets: ours work, an operator's stand beside them, and a wrong file is told at start."""

import json
from pathlib import Path

import pytest

from ebbmark import cli
from ebbmark.errors import Rejected
from ebbmark.imaging.recipe import parse_recipe, recipe_from_form
from ebbmark.imaging.render import render
from ebbmark.presets import PresetsError, load, named, shipped
from tests.unit.imaging.photos import opened, saved, varied

OWN = """
[grey]
title = "Grey"
summary = "No colours."
operations = [{ operation = "grayscale" }]

[web-proof]
title = "Our proof"
operations = [{ operation = "resize", width = 90 }, { operation = "watermark", text = "© Us" }]
"""


def written(folder: Path, text: str, name: str = "presets.toml") -> str:
    path = folder / name
    path.write_text(text, "utf-8")
    return str(path)


@pytest.mark.parametrize("name", shipped())
def test_a_preset_that_comes_with_ebbmark_renders_a_photo(name: str) -> None:
    preset = shipped()[name]
    facts = {"filename": "DSC_1", "n": "1", "total": "2"}
    result = render(saved(varied(), "JPEG"), preset.recipe.to_json(), facts=facts)
    assert opened(result.data).size == (result.width, result.height)
    assert preset.title
    assert preset.summary


def test_a_portrait_for_instagram_has_its_size_whatever_the_photo_has() -> None:
    result = render(saved(varied(), "JPEG"), shipped()["instagram-portrait"].recipe.to_json())
    assert (result.width, result.height) == (1080, 1350)


def test_an_operator_s_presets_stand_beside_ours_or_in_their_place(tmp_path: Path) -> None:
    presets = load(written(tmp_path, OWN))
    assert [*presets] == [*shipped(), "grey"]
    assert (presets["web-proof"].title, presets["newsroom"]) == ("Our proof", shipped()["newsroom"])
    assert presets["grey"].recipe == parse_recipe('{"operations": [{"operation": "grayscale"}]}')


def test_a_preset_may_say_what_results_are_called(tmp_path: Path) -> None:
    told = '[grey]\ntitle = "Grey"\nname = "{stem}-grey"\noperations = [{ operation = "grayscale" }]\n'
    recipe = load(written(tmp_path, told))["grey"].recipe
    assert recipe.name == "{stem}-grey"
    assert recipe_from_form(["blur"], {}, recipe).name == "{stem}-grey"


def test_they_may_be_written_as_json(tmp_path: Path) -> None:
    told = {"grey": {"title": "Grey", "operations": [{"operation": "grayscale"}]}}
    presets = load(written(tmp_path, json.dumps(told), "presets.json"))
    assert presets["grey"] == load(written(tmp_path, OWN.replace('summary = "No colours."', "")))["grey"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[grey", "Expected ']'"),
        ("[grey]\noperations = []\n", "missing required field `title`"),
        ('[grey]\ntitle = "G"\noperations = []\n', "grey: Choose at least one operation"),
        ('[grey]\ntitle = "G"\noperations = "grayscale"\n', "Expected `array`"),
        (
            '[grey]\ntitle = "G"\ncolour = 1\noperations = [{operation = "grayscale"}]\n',
            "unknown field `colour`",
        ),
        ('["A b"]\ntitle = "G"\noperations = [{operation = "grayscale"}]\n', "A b: Expected `str` matching"),
        ('["a\\n"]\ntitle = "G"\noperations = [{operation = "grayscale"}]\n', "Expected `str` matching"),
        (
            '[big]\ntitle = "B"\noperations = [{operation = "resize", width = 0}]\n',
            "big: resize: width must be",
        ),
        (
            '[x]\ntitle = "X"\noperations = [{operation = "sharpest"}]\n',
            "x: There is no operation 'sharpest'",
        ),
        (
            '[x]\ntitle = "X"\noperations = [{operation = "blur", radius = 2026-01-01}]\n',
            "x: blur: radius must",
        ),
    ],
)
def test_a_wrong_file_is_told_with_what_is_wrong(tmp_path: Path, text: str, complaint: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(PresetsError) as wrong:
        load(path)
    assert complaint in str(wrong.value)
    assert str(wrong.value).startswith(f"{path}: ")


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = '[a]\ntitle = ""\noperations = []\n[b]\ntitle = "B"\noperations = [{operation = "sharpest"}]\n'
    with pytest.raises(PresetsError) as wrong:
        load(written(tmp_path, text))
    assert len(str(wrong.value).splitlines()) == 2


def test_ingest_does_not_start_with_a_wrong_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EBBMARK_RECIPE_PRESETS", str(tmp_path / "missing.toml"))
    assert cli.main(["ingest"]) == 2
    told = capsys.readouterr().err
    assert "the settings are wrong" in told
    assert "missing.toml: No such file or directory" in told


def test_a_preset_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        Rejected, match="There is no preset 'web'; there are web-proof, numbered-proof"
    ) as refused:
        named(shipped(), "web")
    assert refused.value.code == "unknown-preset"


def test_fields_go_before_what_a_preset_says_and_operations_are_added_where_they_are_of_use() -> None:
    proof = shipped()["web-proof"].recipe
    changed = recipe_from_form(
        ["grayscale"], {"text": "© Ann", "width": "800", "convert.quality": "70"}, proof
    )
    assert [type(each).__name__ for each in changed.operations] == [
        "Resize",
        "Grayscale",
        "Watermark",
        "Convert",
    ]
    resize, _, watermark, convert = changed.operations
    assert (resize.width, resize.height) == (800, 1600)  # pyright: ignore[reportAttributeAccessIssue]
    assert (watermark.text, watermark.position) == ("© Ann", "tiled")  # pyright: ignore[reportAttributeAccessIssue]
    assert (convert.format, convert.quality) == ("jpeg", 70)  # pyright: ignore[reportAttributeAccessIssue]
    assert recipe_from_form([], {}, proof) == proof
    with pytest.raises(Rejected, match="takes a parameter 'radius'"):
        recipe_from_form([], {"radius": "0.1"}, proof)
