"""Every recipe survives the journey, and every wrong one is refused with a sentence."""

import json
from collections.abc import Mapping
from typing import Any, get_args

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbmark.errors import Rejected
from ebbmark.imaging.border import Border
from ebbmark.imaging.convert import Convert
from ebbmark.imaging.crop import Crop
from ebbmark.imaging.filters import Blur, Grayscale, Sepia, Sharpen
from ebbmark.imaging.flip import Flip
from ebbmark.imaging.gravity import Gravity
from ebbmark.imaging.layout import POSITIONS
from ebbmark.imaging.metadata import Metadata
from ebbmark.imaging.operation import Operation, catalogue, operations_schema
from ebbmark.imaging.recipe import (
    MOST_OPERATIONS,
    Recipe,
    arranged,
    labelled,
    name_in,
    parse_recipe,
    recipe_from_form,
)
from ebbmark.imaging.resize import Resize
from ebbmark.imaging.rotate import Rotate
from ebbmark.imaging.tones import Autocontrast, Brightness, Contrast, Saturation
from ebbmark.imaging.watermark import Watermark

texts = st.text(st.sampled_from("AbЯж Ωé©€0.-\n"), min_size=1, max_size=40).filter(str.strip)
edges = st.integers(1, 16_384)
gravities = st.sampled_from(get_args(Gravity))
grounds = st.just("transparent") | st.from_regex("#[0-9a-f]{6}", fullmatch=True)
EDITING = sorted(name for name, kind in catalogue().items() if not kind.encodes_only)
any_operation = st.one_of(
    st.builds(
        Watermark,
        text=texts,
        logo=st.booleans(),
        position=st.sampled_from(POSITIONS),
        opacity=st.floats(0, 1),
        size=st.floats(0.01, 0.5),
        margin=st.floats(0, 0.4),
        color=st.one_of(st.just("auto"), st.from_regex("#[0-9a-f]{6}", fullmatch=True)),
        angle=st.one_of(st.none(), st.floats(-180, 180)),
        outline=st.booleans(),
    ),
    st.builds(Resize, width=edges, height=edges, fit=st.sampled_from(["inside", "cover", "exact"])),
    st.builds(Resize, width=edges, enlarge=st.booleans()),
    st.builds(
        Convert,
        format=st.sampled_from(["original", "jpeg", "png", "webp", "avif"]),
        quality=st.none() | st.integers(1, 100),
        progressive=st.booleans(),
        chroma=st.sampled_from(["auto", "4:4:4", "4:2:2", "4:2:0"]),
        background=st.one_of(st.just("auto"), st.from_regex("#[0-9a-f]{6}", fullmatch=True)),
        profile=st.sampled_from(["keep", "srgb"]),
    ),
    st.builds(Metadata, privacy=st.sampled_from(["private", "keep", "strip"])),
    st.builds(Blur, radius=st.floats(0.001, 0.25)),
    st.builds(Grayscale),
    st.builds(Resize, percent=st.floats(1, 100)),
    st.builds(Resize, long_edge=edges),
    st.builds(Resize, width=edges, height=edges, fit=st.just("cover"), gravity=gravities),
    st.builds(Crop, aspect=st.sampled_from(["4:5", "1.91:1", "16:9"]), focus=gravities),
    st.builds(Rotate, degrees=st.floats(-360, 360), expand=st.booleans(), corners=grounds),
    st.builds(Flip, direction=st.sampled_from(["horizontal", "vertical"])),
    st.builds(Border, edge=st.floats(0, 0.5), edge_pixels=st.none() | st.integers(0, 99), edge_color=grounds),
    st.builds(Sepia, sepia=st.floats(0, 1)),
    st.builds(Sharpen, sharpness=st.floats(0, 5), reach=st.floats(0.2, 20), threshold=st.integers(0, 255)),
    st.builds(Brightness, brightness=st.floats(0, 4)),
    st.builds(Contrast, contrast=st.floats(0, 4)),
    st.builds(Saturation, saturation=st.floats(0, 4)),
    st.builds(Autocontrast, cutoff=st.floats(0, 20), each_colour=st.booleans()),
)
names = st.text(st.sampled_from("ab {}stemn-©.:3"), max_size=40)
recipes = st.builds(
    Recipe, st.lists(any_operation, min_size=1, max_size=5).map(tuple), st.one_of(st.just(""), names)
)


def refusal(raw: bytes | str) -> Rejected:
    with pytest.raises(Rejected) as refused:
        parse_recipe(raw)
    return refused.value


def step(**parameters: object) -> str:
    return json.dumps({"operations": [parameters]})


@given(recipes)
def test_a_recipe_survives_the_journey_as_json(recipe: Recipe) -> None:
    assert parse_recipe(recipe.to_json()) == recipe


@given(recipes, recipes)
def test_equal_recipes_and_only_they_have_equal_bytes(one: Recipe, other: Recipe) -> None:
    assert (one == other) == (one.to_json() == other.to_json())
    assert parse_recipe(one.to_json()).to_json() == one.to_json()


def test_minus_zero_is_zero() -> None:
    below, above = (parse_recipe(step(operation="watermark", text="x", angle=zero)) for zero in (-0.0, 0.0))
    assert below.to_json() == above.to_json()


def test_defaults_are_spelt_out_so_that_later_ones_change_no_accepted_job() -> None:
    spelt = json.loads(parse_recipe(step(operation="blur")).to_json())
    assert spelt == {"operations": [{"operation": "blur", "radius": 0.01}]}


@pytest.mark.parametrize("name", ["x" * 121, "a/b", "a\\b", "a\nb", "a\u202eb"])
def test_a_name_that_could_be_none_is_refused(name: str) -> None:
    raw = json.dumps({"operations": [{"operation": "grayscale"}], "name": name})
    assert refusal(raw).code == "invalid-name"


def test_a_recipe_without_a_name_does_not_speak_of_one() -> None:
    assert b"name" not in parse_recipe(step(operation="grayscale")).to_json()
    assert name_in(b"[]") == name_in(None) == name_in(step(operation="blur").encode()) == ""
    assert name_in(Recipe((Grayscale(),), "{stem}-web").to_json()) == "{stem}-web"


def test_the_order_of_operations_is_kept() -> None:
    raw = '{"operations": [{"operation": "grayscale"}, {"operation": "resize", "width": 9}]}'
    assert parse_recipe(raw).operations == (Grayscale(), Resize(width=9))


@pytest.mark.parametrize(
    "raw",
    [
        "", "[", "null", "[]", "{}", '{"operations": {}}', '{"operations": [1]}',
        '{"operations": [], "x": []}',
        '{"operations": [{"operation": "blur"}]} trailing', b"\xff\xfe", "[" * 5000, "x" * 20_000,
    ],
)  # fmt: skip
def test_what_is_no_recipe_is_refused(raw: bytes | str) -> None:
    assert refusal(raw).code == "invalid-recipe"


@pytest.mark.parametrize(
    ("raw", "code", "detail"),
    [
        ('{"operations": []}', "no-operations", "Choose at least one operation: autocontrast, blur, border"),
        (
            step(operation="invert"),
            "unknown-operation",
            "There is no operation 'invert'; there are autocontrast, blur",
        ),
        (step(operation=None), "unknown-operation", "There is no operation 'null'"),
        (step(width=5), "unknown-operation", "There is no operation 'null'"),
        (step(operation="resize"), "invalid-parameter", "resize needs a width, a height or both."),
        (
            step(operation="resize", width=0),
            "invalid-parameter",
            "width must be a whole number from 1 to 16384.",
        ),
        (step(operation="resize", width=9, percent=50), "invalid-parameter", "one of the three."),
        (step(operation="resize", percent=150), "invalid-parameter", "not be above 100 without enlarge."),
        (step(operation="resize", long_edge=9, fit="exact"), "invalid-parameter", "both width and height"),
        (step(operation="crop", aspect="0:1"), "invalid-parameter", "Width to height, such as 4:5, 16:9"),
        (step(operation="rotate", degrees=361), "invalid-parameter", "a number from -360 to 360."),
        (step(operation="border", edge_color="white"), "invalid-parameter", "transparent or a colour"),
        (step(operation="resize", width="9"), "invalid-parameter", "width must be a whole number"),
        (step(operation="resize", width=9, fit="cover"), "invalid-parameter", "both width and height"),
        (
            step(operation="resize", width=9, depth=1),
            "invalid-parameter",
            "resize has no parameter 'depth'; it",
        ),
        (step(operation="grayscale", depth=1), "invalid-parameter", "no parameter 'depth'; it takes none."),
        (
            step(operation="convert", format="gif"),
            "invalid-parameter",
            "must be one of avif, jpeg, original, png, webp.",
        ),
        (step(operation="convert", format="png", quality=101), "invalid-parameter", "from 1 to 100."),
        (step(operation="blur", radius=0), "invalid-parameter", "must be a number above 0 to 0.25."),
        (step(operation="watermark"), "invalid-parameter", "watermark needs a text, a logo or both."),
        (step(operation="watermark", text=" \n"), "invalid-parameter", "watermark needs a text"),
        (
            step(operation="watermark", text="x" * 201),
            "invalid-parameter",
            "a text of at most 200 characters.",
        ),
        (
            step(operation="watermark", text="x", color="red"),
            "invalid-parameter",
            "color must be as described",
        ),
        (
            step(operation="watermark", text="x", logo="yes"),
            "invalid-parameter",
            "logo must be true or false.",
        ),
        (
            step(operation="watermark", text="x", position="here"),
            "invalid-parameter",
            "one of bottom, bottom-left,",
        ),
        (step(operation="watermark", text="བ"), "missing-glyph", "No font has a character for 'བ'."),
    ],
)
def test_a_wrong_parameter_is_named_with_what_it_must_be(raw: str, code: str, detail: str) -> None:
    refused = refusal(raw)
    assert refused.code == code
    assert detail in refused.detail


def test_there_is_a_most_of_operations() -> None:
    many = {"operations": [{"operation": "grayscale"}] * (MOST_OPERATIONS + 1)}
    assert refusal(json.dumps(many)).code == "too-many-operations"


def test_the_short_form_gives_each_field_to_the_operation_that_declares_it() -> None:
    fields = {"text": "© 2026", "width": "800", "opacity": "0.5", "angle": "-30", "position": "tiled"}
    recipe = recipe_from_form(["resize,watermark", "convert"], {**fields, "format": "webp"})
    assert recipe.operations == (
        Resize(width=800),
        Watermark(text="© 2026", opacity=0.5, angle=-30, position="tiled"),
        Convert(format="webp"),
    )


def test_empty_fields_of_a_form_count_as_absent() -> None:
    fields = {"width": "800", "height": "", "text": "", "quality": ""}
    assert recipe_from_form(["resize"], fields).operations == (Resize(width=800),)


@pytest.mark.parametrize(("value", "enlarge"), [("on", True), ("1", True), ("true", True), ("off", False)])
def test_check_boxes_are_read_as_browsers_send_them(value: str, enlarge: bool) -> None:  # noqa: FBT001
    recipe = recipe_from_form(["resize"], {"width": "8", "enlarge": value})
    assert recipe.operations == (Resize(width=8, enlarge=enlarge),)


def test_a_field_may_name_its_operation() -> None:
    recipe = recipe_from_form(["watermark"], {"watermark.text": "null", "watermark.size": "0.1"})
    assert recipe.operations == (Watermark(text="null", size=0.1),)


@pytest.mark.parametrize(
    ("operations", "fields", "code", "detail"),
    [
        (["resize"], {"text": "x"}, "invalid-parameter", "(resize) takes a parameter 'text'."),
        (["resize"], {"width": "wide"}, "invalid-parameter", "width must be a whole number from 1 to 16384."),
        (["resize"], {"width": "8", "enlarge": "maybe"}, "invalid-parameter", "must be true or false."),
        ([""], {}, "no-operations", "Choose at least one operation"),
        (["resize,resize"], {"width": "8"}, "invalid-parameter", "write resize.width or resize.2.width."),
        (["resize"], {"resize.2.width": "8"}, "invalid-parameter", "takes a parameter 'resize.2.width'."),
        (["watermark", "watermark"], {"watermark.text": "x"}, "invalid-parameter", "needs a text"),
        (["invert"], {}, "unknown-operation", "There is no operation 'invert'"),
        (["watermark"], {"text": "བ"}, "missing-glyph", "'བ'"),
    ],
)
def test_a_wrong_form_is_refused(
    operations: list[str], fields: Mapping[str, str], code: str, detail: str
) -> None:
    with pytest.raises(Rejected) as refused:
        recipe_from_form(operations, fields)
    assert refused.value.code == code
    assert detail in refused.value.detail


def test_the_short_form_takes_several_marks() -> None:
    fields = {"watermark.text": "© Ann", "watermark.2.text": "PROOF", "watermark.2.position": "tiled"}
    recipe = recipe_from_form(["watermark,grayscale,watermark"], fields)
    assert recipe.operations == (
        Watermark(text="© Ann"),
        Grayscale(),
        Watermark(text="PROOF", position="tiled"),
    )
    assert parse_recipe(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("named", "order"),
    [
        (["watermark.2,resize", "watermark"], [(Watermark, "B"), (Resize, ""), (Watermark, "A")]),
        (["watermark,resize,watermark"], [(Watermark, "A"), (Resize, ""), (Watermark, "B")]),
    ],
)
def test_a_mark_may_be_named_by_its_number_so_that_any_order_can_be_said(
    named: list[str], order: list[tuple[type[Operation], str]]
) -> None:
    fields = {"watermark.text": "A", "watermark.2.text": "B", "width": "9"}
    made = recipe_from_form(named, fields).operations
    assert [(type(each), getattr(each, "text", "")) for each in made] == order


def test_steps_that_nobody_put_in_order_are_performed_where_they_are_of_use() -> None:
    assert arranged(["convert", "watermark", "resize", "grayscale"]) == [
        "resize",
        "grayscale",
        "watermark",
        "convert",
    ]
    assert arranged(["convert", "watermark.10", "watermark.2", "watermark"]) == [
        "watermark",
        "watermark.2",
        "watermark.10",
        "convert",
    ]
    listed = ["watermark", "resize", "gone"]
    assert arranged(["resize", "watermark", "blur", "convert"], listed) == [
        "blur",
        "watermark",
        "resize",
        "convert",
    ]


def test_labels_and_steps_of_a_recipe_make_the_same_recipe_again() -> None:
    made = recipe_from_form(
        ["watermark,resize,watermark"], {"watermark.text": "A", "watermark.2.text": "B", "width": "9"}
    )
    assert [label for label, _ in labelled(made)] == ["watermark", "resize", "watermark.2"]
    assert parse_recipe(json.dumps({"operations": [values for _, values in labelled(made)]})) == made


def test_no_field_belongs_to_two_operations_that_come_with_ebbmark() -> None:
    names = [name for operation in operations_schema() for name in parameters_of(operation)]
    assert len(names) == len(set(names))


def test_no_two_fields_of_the_form_have_one_name() -> None:
    titles = [str(operation["title"]) for operation in operations_schema()]
    titles += [
        str(schema["title"]) for each in operations_schema() for schema in parameters_of(each).values()
    ]
    assert len(titles) == len(set(titles))


def test_every_parameter_describes_itself_well_enough_for_a_form() -> None:
    for operation in operations_schema():
        assert operation["summary"]
        for parameter in parameters_of(operation).values():
            assert parameter["title"]
            assert parameter["description"]
            assert "type" in parameter or "enum" in parameter
            assert "anyOf" not in parameter
            if parameter.get("type") in {"number", "integer"}:
                assert "maximum" in parameter
                assert "minimum" in parameter or "exclusiveMinimum" in parameter
            if parameter.get("type") == "string" and "enum" not in parameter:
                assert "maxLength" in parameter or "pattern" in parameter


def test_nothing_is_accepted_with_a_line_feed_behind_it() -> None:
    given = [
        ({"operation": each["name"], **each["parameters"].get("examples", [{}])[0]}, name, schema)
        for each in operations_schema()
        for name, schema in parameters_of(each).items()
        if "pattern" in schema
    ]
    assert given
    for beside, name, schema in given:
        validator = jsonschema_rs.validator_for(schema)
        for value in schema["examples"]:
            assert is_accepted({**beside, name: value})
            assert not is_accepted({**beside, name: f"{value}\n"}), (beside, name)
            assert validator.is_valid(value)
            assert not validator.is_valid(f"{value}\n")


def is_accepted(parameters: Mapping[str, object]) -> bool:
    try:
        return bool(parse_recipe(step(**parameters)))
    except Rejected:
        return False


def test_every_example_is_accepted() -> None:
    for operation in operations_schema():
        name = operation["name"]
        (example,) = operation["parameters"].get("examples", [{}])
        assert parse_recipe(step(**{"operation": name, **example}))
        for parameter, schema in parameters_of(operation).items():
            assert schema["examples"], (name, parameter)
            for each in schema["examples"]:
                beside = {"operation": name, **example, parameter: each}
                alone = {"operation": name, parameter: each}
                assert is_accepted(beside) or is_accepted(alone), (name, parameter, each)


def test_a_schema_is_one_for_any_validator() -> None:
    for operation in operations_schema():
        schema = json.loads(json.dumps(operation["parameters"]))
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        jsonschema_rs.meta.validate(schema)
        validator = jsonschema_rs.validator_for(schema)
        (example,) = schema.get("examples", [{}])
        for parameter, described in schema["properties"].items():
            for each in described["examples"]:
                assert validator.is_valid({**example, parameter: each}), (operation["name"], parameter)
            if "default" in described:
                assert validator.is_valid({**example, parameter: described["default"]})
        assert not validator.is_valid({**example, "nobody": 1})


def test_the_schema_is_json_and_lists_what_is_required() -> None:
    described = {operation["name"]: operation for operation in json.loads(json.dumps(operations_schema()))}
    assert sorted(described) == list(described)
    assert {"autocontrast", "blur", "convert", "grayscale", "resize", "watermark"} <= set(described)
    assert described["convert"]["parameters"]["required"] == []
    assert described["watermark"]["parameters"]["properties"]["position"]["enum"] == sorted(POSITIONS)
    assert described["watermark"]["parameters"]["properties"]["opacity"] == {
        "title": "Opacity",
        "description": "0 is invisible, 1 hides what is below.",
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0.6,
        "examples": [0.6, 0.25],
    }


def test_what_there_is_to_choose_from_has_titles_for_people() -> None:
    (described,) = [each for each in operations_schema() if each["name"] == "watermark"]
    position = parameters_of(described)["position"]
    assert {each["const"]: each["title"] for each in position["oneOf"]}["top-left"] == "Top left"
    assert [each["const"] for each in position["oneOf"]] == position["enum"]


def test_a_parameter_that_may_be_left_out_has_no_default_that_it_cannot_be_given() -> None:
    (described,) = [each for each in operations_schema() if each["name"] == "resize"]
    assert "default" not in parameters_of(described)["width"]
    assert parameters_of(described)["enlarge"]["default"] is False


def test_an_operation_cannot_be_made_without_an_edit() -> None:
    with pytest.raises(TypeError, match="abstract method 'edit'"):
        Operation()  # type: ignore[abstract]


def parameters_of(operation: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return operation["parameters"]["properties"]
