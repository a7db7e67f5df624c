"""`ebbmark recipe`: what a file, a link or JSON asks for, spelt out, or a sentence on what is wrong."""

import argparse
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ebbmark.errors import Rejected
from ebbmark.imaging.recipe import MOST_BYTES, Recipe, parse_recipe
from ebbmark.links import read_link
from ebbmark.presets import PresetsError, load

__all__ = ["add_arguments", "run"]

_WRONG = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("what", metavar="FILE|LINK|JSON", help="a recipe; a link is read, not opened")
    parser.add_argument(
        "--presets", default="", metavar="FILE", help="an operator's, for links that name a preset"
    )


def run(args: argparse.Namespace) -> int:
    """Print the recipe with every default spelt out; return 0, or 2 when it is wrong."""
    try:
        recipe = _read(args.what, args.presets)
    except Rejected as exc:
        sys.stderr.write(f"ebbmark recipe: {exc.detail} ({exc.code})\n")
        return _WRONG
    except (PresetsError, OSError, UnicodeDecodeError) as exc:
        sys.stderr.write(f"ebbmark recipe: {exc}\n")
        return _WRONG
    sys.stdout.write(msgspec.json.format(recipe.to_json(), indent=2).decode() + "\n")
    return 0


def _read(what: str, presets: str) -> Recipe:
    if what.lstrip().startswith("{"):
        return parse_recipe(what)
    if "?" in what:
        link = read_link(urlsplit(what).query, load(presets))
        if link is None:
            raise Rejected("invalid-recipe", "This link names no recipe, no preset and no operations.")
        return link.recipe
    with Path(what).open("rb") as file:
        return parse_recipe(file.read(MOST_BYTES + 1))
