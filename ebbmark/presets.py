"""A preset is a recipe under a name: some come with Ebbmark, an operator's file has others or better ones."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ebbmark.errors import Rejected
from ebbmark.imaging.recipe import Recipe, parse_recipe
from ebbmark.patterns import whole
from ebbmark.settings import SettingsError

__all__ = ["Preset", "PresetsError", "load", "named", "shipped"]

MOST_BYTES = 1024**2
_SHAPE = (
    'a preset is such as [web-proof] with title = "Web proof" and operations = [{operation = "grayscale"}]'
)


class Preset(Struct, frozen=True, kw_only=True):
    """A recipe that somebody thought of before."""

    name: str
    title: str
    summary: str
    recipe: Recipe


class PresetsError(SettingsError):
    """The file of presets cannot be used; the message lists every problem."""


class _Written(Struct, frozen=True, forbid_unknown_fields=True):
    """A preset as it stands in a file."""

    title: Annotated[str, Meta(min_length=1, max_length=60)]
    operations: list[dict[str, Any]]
    summary: Annotated[str, Meta(max_length=200)] = ""
    name: str = ""


_Name = Annotated[str, Meta(pattern=whole("[a-z0-9]+(-[a-z0-9]+)*"), max_length=60)]


def shipped() -> dict[str, Preset]:
    """Return the presets that come with Ebbmark, in the order of their file."""
    return _read(files("ebbmark").joinpath("presets.toml").read_bytes(), "presets.toml")


def load(path: str) -> dict[str, Preset]:
    """Return the presets by name: Ebbmark's, then those of the file, if one is named; they may replace ours.

    Raises:
        PresetsError: the file cannot be read, or a preset in it is wrong; all problems are listed.
    """
    if not path:
        return shipped()
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as exc:
        raise PresetsError(f"{path}: {exc.strerror}") from exc
    if len(content) > MOST_BYTES:
        raise PresetsError(f"{path}: it is larger than {MOST_BYTES // 1024} kB")
    return {**shipped(), **_read(content, path)}


def named(presets: Mapping[str, Preset], name: str) -> Preset:
    """Return the preset of this name. Raises `Rejected`, code `unknown-preset`."""
    found = presets.get(name)
    if found is None:
        raise Rejected("unknown-preset", f"There is no preset '{name[:60]}'; there are {', '.join(presets)}.")
    return found


def _read(content: bytes, path: str) -> dict[str, Preset]:
    try:
        as_json = path.endswith(".json")
        told: object = msgspec.json.decode(content) if as_json else tomllib.loads(content.decode())
        each = msgspec.convert(told, dict[str, Any])
    except (ValueError, msgspec.MsgspecError, RecursionError) as exc:
        raise PresetsError(f"{path}: {exc}") from exc
    found: dict[str, Preset] = {}
    problems: list[str] = []
    for name, preset in each.items():
        try:
            found[name] = _preset(name, preset)
        except Rejected as exc:
            problems.append(f"{path}: {name}: {exc.detail}")
        except (msgspec.MsgspecError, TypeError) as exc:
            problems.append(f"{path}: {name}: {exc}; {_SHAPE}")
    if problems:
        raise PresetsError("\n".join(problems))
    return found


def _preset(name: str, told: object) -> Preset:
    written = msgspec.convert(told, _Written)
    return Preset(
        name=msgspec.convert(name, _Name),
        title=written.title,
        summary=written.summary,
        recipe=parse_recipe(msgspec.json.encode({"operations": written.operations, "name": written.name})),
    )
