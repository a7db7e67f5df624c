"""The flags are the parameters of the installed operations, and the form's fields are what they say."""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from ebbmark.imaging.operation import operations_schema
from ebbmark.sending.trouble import WRONG, SendError

_FIRST = (
    "rotate", "flip", "crop", "resize",
    "autocontrast", "brightness", "contrast", "saturation", "grayscale", "sepia", "blur", "sharpen",
    "watermark", "border",
)  # fmt: skip
_LAST = "convert"
_OWN_FLAGS = {"help", "out", "url", "operations", "recipe", "name", "logo", "json", "wait", "no-wait"}
_LOGO = "watermark.logo"  # said by the file alone


class Flag(NamedTuple):
    """One parameter of an operation, or an operation without any (`parameter` is empty)."""

    operation: str
    parameter: str
    schema: Mapping[str, Any]
    option: str

    @property
    def field(self) -> str:
        """Its field in the form, spelt so that it can mean nothing else."""
        return f"{self.operation}.{self.parameter}" if self.parameter else self.operation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags, one for each parameter of each installed operation."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="files, or folders of them")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("marked"), help="where results go (%(default)s)"
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where Ebbmark is (%(default)s)")
    parser.add_argument(
        "--operations", metavar="NAME,…", help="which, in this order; else what the flags say"
    )
    parser.add_argument("--recipe", metavar="JSON", help="the whole recipe, instead of flags")
    parser.add_argument(
        "--name",
        metavar="TEMPLATE",
        help="what results are called, such as {stem}-{width}; else like the photos",
    )
    parser.add_argument("--logo", type=Path, metavar="FILE", help="image for the watermark")
    parser.add_argument("--json", action="store_true", help="print one JSON summary on standard output")
    parser.add_argument("--no-wait", action="store_true", help="send, print where the job is, and leave")
    summaries = {str(each["name"]): str(each["summary"]) for each in operations_schema()}
    groups = {name: parser.add_argument_group(name, _literal(text)) for name, text in summaries.items()}
    for flag in flags():
        says = _literal(str(flag.schema.get("description", "Do it.")))
        if not flag.parameter:
            kind: dict[str, Any] = {"action": "store_true", "default": None}
        elif flag.schema.get("type") == "boolean":
            kind = {"action": argparse.BooleanOptionalAction}
        elif "enum" in flag.schema:
            kind = {"choices": [str(choice) for choice in flag.schema["enum"]]}
        else:
            kind = {"metavar": flag.parameter.upper()}
        groups[flag.operation].add_argument(flag.option, dest=flag.field, help=says, **kind)


def flags(operations: Iterable[Mapping[str, object]] | None = None) -> list[Flag]:
    """Return the flags of operations, by default of all: `--text`, or `--watermark.text` where unclear."""
    found: list[tuple[str, str, Mapping[str, Any]]] = []
    for operation in operations_schema() if operations is None else operations:
        name = str(operation["name"])
        properties = cast("dict[str, Any]", operation["parameters"])["properties"]
        found += [(name, parameter, schema) for parameter, schema in properties.items()] or [(name, "", {})]
    spelt = Counter(parameter or name for name, parameter, _ in found)
    return [
        Flag(name, parameter, schema, "--" + option.replace("_", "-"))
        for name, parameter, schema in found
        if f"{name}.{parameter}" != _LOGO
        for word in (parameter or name,)
        for option in (word if spelt[word] == 1 and word not in _OWN_FLAGS else f"{name}.{word}",)
    ]


def form_fields(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the form's fields for the flags given: an operation is wanted when one of its flags is.

    Raises:
        SendError: nothing is wanted, or a recipe and flags at once, or a flag of an operation that
            `--operations` leaves out, or what is said is not UTF-8.
    """
    fields = _form_fields(given)
    for field, value in fields.items():
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise SendError(WRONG, f"{field} is not UTF-8") from exc
    return fields


def _form_fields(given: Mapping[str, Any]) -> dict[str, str]:
    said = [flag for flag in flags() if given.get(flag.field) is not None]
    fields = {flag.field: str(given[flag.field]) for flag in said if flag.parameter}
    called = {"name": str(given["name"])} if given.get("name") else {}
    if given.get("recipe") is not None:
        if said or given.get("operations") is not None:
            raise SendError(WRONG, "say what to do by --recipe or by the other flags, not by both")
        return {"recipe": given["recipe"], **called}
    asked = [(flag.option, flag.operation) for flag in said]
    asked += [("--logo", "watermark")] if given.get("logo") else []
    if given.get("operations") is not None:
        named = {name.strip() for name in given["operations"].split(",")}
        for option, operation in asked:
            if operation not in named:
                raise SendError(WRONG, f"{option} is of {operation}, which --operations does not name")
        return {"operations": given["operations"], **fields, **called}
    wanted = list(dict.fromkeys(operation for _, operation in asked))
    if not wanted:
        raise SendError(WRONG, "say what to do, such as --text '© Ann' or --width 1600")
    rank = {name: place for place, name in enumerate(_FIRST)}
    wanted.sort(key=lambda name: (name == _LAST, rank.get(name, len(rank))))
    return {"operations": ",".join(wanted), **fields, **called}


def _literal(text: str) -> str:
    return text.replace("%", "%%")  # argparse formats what it prints
