"""The flags are the parameters of the installed operations, and the form's fields are what they say."""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from ebbmark.imaging.operation import operations_schema
from ebbmark.imaging.recipe import arranged, expected, further_labels, operation_of, told_apart
from ebbmark.sending.trouble import WRONG, SendError

_OWN_FLAGS = {
    "help",
    "out",
    "url",
    "operations",
    "preset",
    "recipe",
    "name",
    "logo",
    "json",
    "wait",
    "no-wait",
}


class Flag(NamedTuple):
    """One parameter of an operation, or an operation without any (`parameter` is empty)."""

    label: str
    """The operation; of several the second is `watermark.2`."""
    parameter: str
    schema: Mapping[str, Any]
    options: tuple[str, ...]
    """`--text` and `--watermark.text`, or the longer alone where the short one is unclear."""

    @property
    def field(self) -> str:
        """Its field in the form, spelt so that it can mean nothing else."""
        return f"{self.label}.{self.parameter}" if self.parameter else self.label

    @property
    def further(self) -> bool:
        """Whether it is of a further mark; the help says of all of these, in one sentence, that they are."""
        return operation_of(self.label) != self.label


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
    parser.add_argument(
        "--preset", metavar="NAME", help="what Ebbmark lists at /presets; flags go before what it says"
    )
    parser.add_argument("--recipe", metavar="JSON", help="the whole recipe, instead of flags")
    parser.add_argument(
        "--name",
        metavar="TEMPLATE",
        help="what results are called, such as {stem}-{width}; else like the photos",
    )
    parser.add_argument(
        "--logo",
        type=Path,
        metavar="FILE",
        help="image for the watermark; of several, for the first, or those with --watermark.2.logo and so on",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON summary on standard output")
    parser.add_argument("--no-wait", action="store_true", help="send, print where the job is, and leave")
    groups = {
        str(each["name"]): parser.add_argument_group(str(each["name"]), _literal(_summary(each)))
        for each in operations_schema()
    }
    for flag in flags():
        groups[operation_of(flag.label)].add_argument(*flag.options, **_taken(flag))


def _summary(operation: Mapping[str, object]) -> str:
    """Return what an operation does, and how to say another one where several are of use."""
    name, summary = str(operation["name"]), str(operation["summary"])
    if not _several(operation):
        return summary
    second, *_, last = further_labels(name)
    return f"{summary} Of several, the second has --{second}.X for each --{name}.X, and so on to --{last}.X."


def _several(operation: Mapping[str, object]) -> bool:
    """Tell whether a recipe may well have more than one: a mark, of which no two need be alike."""
    return operation.get("kind") == "mark" and bool(_properties(operation))


def _properties(operation: Mapping[str, object]) -> dict[str, dict[str, Any]]:
    return cast("dict[str, Any]", operation["parameters"])["properties"]


def _taken(flag: Flag) -> dict[str, Any]:
    """Return how a flag is taken, in the words of `add_argument`."""
    taken: dict[str, Any] = {"dest": flag.field, "help": argparse.SUPPRESS if flag.further else _help(flag)}
    if not flag.parameter:
        return taken | {"action": "store_true", "default": None}
    if flag.schema.get("type") == "boolean":
        return taken | {"action": argparse.BooleanOptionalAction}
    if "enum" in flag.schema:
        return taken | {"choices": [str(choice) for choice in flag.schema["enum"]]}
    return taken | {"metavar": flag.parameter.upper()}


def _help(flag: Flag) -> str:
    """Return what the schema says of a parameter, and what it takes."""
    says = [str(flag.schema.get("description") or "Do it.")]
    if flag.parameter and flag.schema.get("type") in {"integer", "number"}:
        says += [f"({expected(flag.schema)})"]
    if flag.schema.get("default") not in {None, ""} and flag.schema.get("type") != "boolean":
        says += [f"[{flag.schema['default']}]"]
    return _literal(" ".join(says))


def flags(operations: Iterable[Mapping[str, object]] | None = None) -> list[Flag]:
    """Return the flags of operations, by default of all: `--text`, or `--watermark.text` where unclear.

    Of marks there may be several: each parameter has a flag for every further one, `--watermark.2.text`.
    """
    found: list[tuple[str, str, Mapping[str, Any]]] = []
    repeated: set[str] = set()
    for operation in operations_schema() if operations is None else operations:
        name = str(operation["name"])
        parameters = _properties(operation).items()
        found += [(name, parameter, schema) for parameter, schema in parameters] or [(name, "", {})]
        repeated |= {name} if _several(operation) else set()
    spelt = Counter(parameter or name for name, parameter, _ in found)
    return [
        Flag(label, parameter, schema, _options(label, parameter or name, clear=clear and label == name))
        for name, parameter, schema in found
        for clear in (spelt[parameter or name] == 1 and (parameter or name) not in _OWN_FLAGS,)
        for label in (name, *(further_labels(name) if name in repeated else ()))
    ]


def _options(label: str, word: str, *, clear: bool) -> tuple[str, ...]:
    whole = f"{label}.{word}"
    words = (whole,) if not clear else (word,) if word == label else (word, whole)
    return tuple("--" + option.replace("_", "-") for option in words)


def form_fields(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the form's fields for the flags given: an operation is wanted when one of its flags is.

    A logo is of the first mark, unless flags say which.

    Those of a preset are wanted, too; where their flags are given, these go before what it says.

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
        if said or given.get("operations") is not None or given.get("preset") is not None:
            raise SendError(WRONG, "say what to do by --recipe or by the other flags, not by both")
        return {"recipe": given["recipe"], **called}
    asked = [(flag.options[0], flag.label) for flag in said]
    placed = any(flag.parameter == "logo" for flag in said)  # or it goes to the first mark, as in a form
    asked += [("--logo", "watermark")] if given.get("logo") and not placed else []
    preset = {} if given.get("preset") is None else {"preset": str(given["preset"])}
    if given.get("operations") is not None:
        named = set(told_apart(name.strip() for name in given["operations"].split(",")))
        for option, label in asked:
            if label not in named and not preset:
                raise SendError(WRONG, f"{option} is of {label}, which --operations does not name")
        return {**preset, "operations": given["operations"], **fields, **called}
    wanted = arranged(label for _, label in asked)
    if not (wanted or preset):
        raise SendError(WRONG, "say what to do, such as --text '© Ann', --width 1600 or --preset web-proof")
    return {**preset, **({"operations": ",".join(wanted)} if wanted else {}), **fields, **called}


def _literal(text: str) -> str:
    return text.replace("%", "%%")  # argparse formats what it prints
