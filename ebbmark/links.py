"""A link to settings says what a form would: `recipe`, `preset`, or `operations` and their fields."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from msgspec import Struct

from ebbmark.errors import Rejected
from ebbmark.imaging.recipe import Recipe, parse_recipe, recipe_from_form
from ebbmark.presets import Preset, named

__all__ = ["Link", "read_link"]

_MOST_FIELDS = 256


class Link(Struct, frozen=True):
    """What a link asks for, and the name of the preset that it begins with, if any."""

    recipe: Recipe
    preset: str | None


def read_link(query: str, presets: Mapping[str, Preset]) -> Link | None:
    """Read what follows the `?` of a link; None when it does not speak of settings.

    Raises `Rejected`: what `parse_recipe` raises, `unknown-preset`, or `invalid-recipe` for a broken link.
    """
    try:
        pairs = parse_qsl(query, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError as exc:
        raise Rejected("invalid-recipe", "This link is broken: what follows its ? cannot be read.") from exc
    fields = dict(pairs)
    whole, preset = fields.pop("recipe", None), fields.pop("preset", None)
    called = fields.pop("name", None)
    if whole is not None:
        return Link(parse_recipe(whole).called(called), None)
    operations = [value for name, value in pairs if name == "operations"]
    if preset is None and not operations:
        return None
    fields.pop("operations", None)
    begun = None if preset is None else named(presets, preset).recipe
    return Link(recipe_from_form(operations, fields, begun).called(called), preset)
