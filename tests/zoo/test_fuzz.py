"""Whatever bytes, recipe or template there are: a result or a refusal, never a fault.

Twenty seconds in CI, always the same from the beginning; `make fuzz` takes ten minutes, and others each time.
"""

import contextlib
import importlib.util
import itertools
import random
import secrets
import struct
import time
from collections.abc import Callable
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st

from ebbmark.errors import Rejected
from ebbmark.imaging import codec, facts
from ebbmark.imaging.bidi import FSI, PDI
from ebbmark.imaging.codec import Encoding, Limits
from ebbmark.imaging.encoding import LONGEST_EDGE
from ebbmark.imaging.operation import catalogue, schema_of
from ebbmark.imaging.preview import Preview, preview
from ebbmark.imaging.recipe import Recipe, parse_recipe, recipe_from_form
from tests.unit.imaging.photos import chunk, opened, watermark
from tests.zoo import makers
from tests.zoo.cuts import parts_of
from tests.zoo.table import KINDS, RARE_KINDS

AT_ONCE = 50
LIMITS = Limits(pixels=300_000)
HEIC_KINDS = ("heic",) if importlib.util.find_spec("pillow_heif") else ()
GOOD = {kind: makers.short(kind) for kind in (*KINDS, *RARE_KINDS, *HEIC_KINDS)}
"""By name, so that an example that fails is told in a line."""
RULES = hypothesis.settings(
    max_examples=AT_ONCE, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def keep_on(config: pytest.Config, check: Callable[..., None], **given: st.SearchStrategy[Any]) -> None:
    """Check example after example until a third of the time is over, from a seed on that is told."""
    wanted: float | None = config.getoption("--fuzz")
    until = time.monotonic() + (wanted or 20.0) / 3
    first = 0 if wanted is None else secrets.randbits(48)
    for seed in itertools.count(first):
        hypothesis.seed(seed)(RULES(hypothesis.given(**given)(check)))()
        if time.monotonic() >= until:
            return


# Files: good ones whose parts are cut, changed, doubled, dropped, or put elsewhere


def spoilt(kind: str, data: bytes, seed: int, changes: int) -> bytes:
    """Return a good file after some changes, made to its parts so that most of it is still read."""
    chance = random.Random(seed)
    begins = [begin for _, begin, _ in parts_of(data, kind)]
    parts = [data[begin:end] for begin, end in itertools.pairwise([*begins, len(data)])]
    for _ in range(changes):
        if not parts:
            break
        place = chance.randrange(len(parts))
        match chance.randrange(6):
            case 0:
                del parts[place]
            case 1:
                parts.insert(chance.randrange(len(parts) + 1), parts[place])
            case 2:
                parts[place] = parts[place][: chance.randrange(len(parts[place]) + 1)]
            case _:
                parts[place] = _changed(kind, parts[place], chance)
    return data[: begins[0]] + b"".join(parts)


_ODD = (0, 1, 0x7F, 0x80, 0xFF)


def _changed(kind: str, part: bytes, chance: random.Random) -> bytes:
    """Return a part with other bytes; those of a PNG add up again, or no decoder would look at them."""
    if not part:
        return part
    body = bytearray(part)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(body))
        body[at] = chance.choice(_ODD) if chance.random() < 0.5 else chance.randrange(256)
    if "png" in kind and len(part) >= 12 and chance.random() < 0.8:
        return chunk(bytes(body[4:8]), bytes(body[8:-4]))
    if len(body) > 8 and chance.random() < 0.1:
        body[4:8] = struct.pack("<I", chance.choice((0, 1, 2**31 - 1, 2**32 - 1)))
    return bytes(body)


def test_any_file_is_a_frame_that_can_be_written_or_a_refusal(request: pytest.FixtureRequest) -> None:
    frames = 0

    def check(kind: str, seed: int, changes: int, target: codec.Format) -> None:
        nonlocal frames
        data = spoilt(kind, GOOD[kind], seed, changes)
        with contextlib.suppress(Rejected, MemoryError):
            decoded, origin = codec.decode_all(data, LIMITS)
            assert {(each.mode, each.size) for each in decoded} == {(decoded[0].mode, decoded[0].size)}
            assert decoded[0].mode in {"RGB", "RGBA", "L"}
            assert len(decoded) * decoded[0].width * decoded[0].height <= LIMITS.pixels
            facts.expand("{exif.date} {exif.camera} {copyright}", codec.facts(origin.exif))
            written = codec.encode(decoded, Encoding(format=target), origin)
            assert opened(written.data).size == decoded[0].size
            frames += 1

    keep_on(
        request.config,
        check,
        kind=st.sampled_from(sorted(GOOD)),
        seed=st.integers(0, 2**48),
        changes=st.integers(0, 6),
        target=st.sampled_from(sorted(LONGEST_EDGE)),
    )
    assert frames > 0


# Recipes: JSON and forms that know the names, and all that they may be given


def _value(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    low, high = schema.get("minimum", 0), schema.get("maximum", 100)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return {
        "integer": st.integers(low, high),
        "number": st.floats(low, high),
        "boolean": st.booleans(),
    }.get(schema.get("type", "string"), st.text(max_size=30) | st.sampled_from(["auto", "none", "#ff8800"]))


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted({field for each in catalogue().values() for field in each.__struct_fields__})


def _step(name: str) -> st.SearchStrategy[dict[str, Any]]:
    properties: dict[str, dict[str, Any]] = schema_of(catalogue()[name])["properties"]  # pyright: ignore[reportAssignmentType]
    likely = {field: _value(schema) | ANYTHING for field, schema in properties.items()}
    return st.fixed_dictionaries({"operation": st.just(name)}, optional=likely)


STEP = st.one_of(*map(_step, catalogue())) | st.dictionaries(st.sampled_from(["operation", *NAMES]), ANYTHING)
AS_JSON = st.fixed_dictionaries({"operations": st.lists(STEP, max_size=4) | ANYTHING}) | ANYTHING
PHOTO = makers.short("jpeg")


def test_any_recipe_is_one_that_is_performed_or_a_refusal(request: pytest.FixtureRequest) -> None:
    performed = 0

    def check(wanted: object, names: list[str], fields: dict[str, str]) -> None:
        nonlocal performed
        for read in (
            lambda: parse_recipe(msgspec.json.encode(wanted)),
            lambda: recipe_from_form(names, fields),
        ):
            with contextlib.suppress(Rejected):
                recipe: Recipe = read()
                assert parse_recipe(recipe.to_json()) == recipe
                preview(PHOTO, recipe.to_json(), PHOTO, LIMITS, edge=64)
                performed += 1

    keep_on(
        request.config,
        check,
        wanted=AS_JSON,
        names=st.lists(st.sampled_from([*catalogue(), "", "nonsense"]), max_size=3),
        fields=st.dictionaries(
            st.sampled_from([*NAMES, "watermark.2.text", "x"]),
            st.text(max_size=12) | st.just("1"),
            max_size=4,
        ),
    )
    assert performed > 0


# Templates: braces, names, and facts that look like either


SIGNS = st.sampled_from(
    [
        "{",
        "}",
        "{{",
        "}}",
        "\n",
        FSI,
        PDI,
        "\u202e",
        "é",
        "字",
        "ب",
        "\u05c1",
        "\u200d",
        "\0",
        *(f"{{{name}}}" for name in facts.NAMES),
    ]
)
TEMPLATE = st.lists(SIGNS | st.text(max_size=12), max_size=60).map("".join)
TEMPLATE |= TEMPLATE.map(lambda text: 9 * text)
JOINED = st.lists(st.sampled_from("שЖ字\u05c1\u200d "), min_size=2, max_size=8).map("".join)
"""Letters that are one to the eye, and that no font may have together."""


def refused(call: Callable[[], object]) -> str:
    """Return with what code a call is refused; nothing when it is not."""
    try:
        call()
    except Rejected as exc:
        return exc.code
    return ""


def test_any_template_with_any_fact_is_a_text_that_can_be_drawn_or_a_refusal(
    request: pytest.FixtureRequest,
) -> None:
    drawn = 0

    def check(template: str, told: dict[str, str]) -> None:
        nonlocal drawn
        text = facts.expand(template, told)
        assert len(text) <= facts.LONGEST_TEXT + 1
        assert text.count(FSI) - template.count(FSI) <= text.count(PDI)
        by, shown = watermark(text=template), list[Preview]()
        if code := refused(lambda: parse_recipe(by)):
            assert code in {"invalid-parameter", "missing-glyph"}  # who wrote it is told at once
            return
        if code := refused(lambda: shown.append(preview(PHOTO, by, None, LIMITS, told, edge=64))):
            assert code == "nothing-to-write"
            return
        assert opened(shown[0].data).size == (48, 36)
        drawn += 1

    keep_on(
        request.config,
        check,
        template=TEMPLATE | st.just("{filename}"),
        told=st.dictionaries(st.sampled_from(list(facts.NAMES)), TEMPLATE | JOINED, max_size=4)
        | st.fixed_dictionaries({"filename": JOINED}),
    )
    assert drawn > 0
