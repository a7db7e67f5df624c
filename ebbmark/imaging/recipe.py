"""A recipe is an ordered list of operations, and every wrong one is refused with a sentence."""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self, cast

import msgspec

from ebbmark.errors import Rejected
from ebbmark.imaging.operation import (
    KINDS,
    Operation,
    blamed,
    catalogue,
    name_of,
    parameters_of,
    schema_of,
)

__all__ = [
    "Recipe",
    "arranged",
    "expected",
    "further_labels",
    "labelled",
    "listed_names",
    "name_in",
    "operation_of",
    "parse_recipe",
    "recipe_from_form",
    "told_apart",
]

MOST_OPERATIONS = 16
MOST_BYTES = 16 * 1024
LONGEST_NAME = 120
_LONGEST_QUOTE = 40
_FIELD = re.compile(r"at `\$\.(\w+)")
_UNKNOWN_FIELD = re.compile(r"unknown field `(.*)`")
_BOUNDS = {
    "minimum": "from",
    "exclusiveMinimum": "above",
    "maximum": "to",
    "exclusiveMaximum": "below",
}
_NUMBERED = re.compile(r"(.+)\.([2-9]|1[0-6])")
_YES, _NO = frozenset({"on", "yes", "true", "1"}), frozenset({"off", "no", "false", "0"})
_ANY = 4000, 3000


class Recipe(msgspec.Struct, frozen=True):
    """What is done to every photo of a job, in this order.

    As JSON: `{"operations": [{"operation": "resize", "width": 800}, {"operation": "grayscale"}]}`.
    """

    operations: tuple[Operation, ...]
    name: str = ""
    """What the results are called, such as `{stem}-{width}`; empty for the names of their originals."""

    def __post_init__(self) -> None:
        if len(self.name) > LONGEST_NAME or not self.name.isprintable() or set(self.name) & {"/", "\\"}:
            detail = (
                f"A name has at most {LONGEST_NAME} characters and no slashes, such as {{stem}}-{{width}}."
            )
            raise Rejected("invalid-name", detail)

    def called(self, name: str | None) -> Self:
        """Return the recipe with another name for the results, if one is given."""
        return msgspec.structs.replace(self, name=name) if name else self

    def to_json(self) -> bytes:
        """Return the recipe with every default spelt out; equal recipes give equal bytes."""
        steps = [_canonical(operation) for operation in self.operations]
        named = {"name": self.name} if self.name else {}
        return msgspec.json.encode({"operations": steps, **named})

    def wants_logo(self) -> bool:
        """Tell whether the job must have a logo."""
        return any(operation.wants_logo() for operation in self.operations)

    def sizes(self, photo: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return the size of a photo before the first operation, and after each as far as they tell."""
        return tuple(
            itertools.accumulate(
                self.operations, lambda size, operation: operation.sized(size), initial=photo
            )
        )

    def enough(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """Return the least size of the original that the operations can start from, if less is enough."""
        shape = size
        for operation in self._editing():
            with blamed(operation):
                least, moved = operation.enough(shape), operation.reshaped(shape)
            if least:
                return least if shape == size else _shrunk(size, shape, least)
            if moved is None:
                return None
            shape = moved
        return None

    def luma_only(self) -> bool:
        """Tell whether no operation sees a colour of the original."""
        for operation in self._editing():
            if operation.luma_only:
                return True
            with blamed(operation):
                moved = operation.reshaped(_ANY)
            if moved is None:
                return False
        return False

    def _editing(self) -> Iterator[Operation]:
        return (operation for operation in self.operations if not operation.encodes_only)


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recipe as JSON, before any operation is looked at."""

    operations: list[dict[str, object]]
    name: str = ""


class _Named(msgspec.Struct, frozen=True):
    """The name alone, for those who need nothing else."""

    name: str = ""


def parse_recipe(raw: bytes | str) -> Recipe:
    """Read a recipe from JSON.

    Raises `Rejected` with `invalid-recipe`, `no-operations`, `too-many-operations`, `unknown-operation`,
    `invalid-parameter`, `missing-glyph` or `invalid-name`.
    """
    if len(raw) > MOST_BYTES:
        raise Rejected("invalid-recipe", f"A recipe can have at most {MOST_BYTES // 1024} kB.")
    try:
        outer = msgspec.json.decode(raw, type=_Written)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Rejected("invalid-recipe", _SHAPE) from exc
    _check_count(len(outer.operations))
    return Recipe(tuple(_operation(step, strict=True) for step in outer.operations), outer.name)


def name_in(recipe: bytes | None) -> str:
    """Return what a recipe, as JSON, calls the results; empty when it leaves them their names."""
    try:
        return msgspec.json.decode(recipe or b"{}", type=_Named).name
    except msgspec.MsgspecError:
        return ""


def recipe_from_form(
    operations: Sequence[str], fields: Mapping[str, str], preset: Recipe | None = None
) -> Recipe:
    """Read a recipe from the short form: names such as `resize,watermark`, and flat fields.

    A field goes to the operation that declares it; when two of the chosen ones do, or to be clear, it is
    written `watermark.size`. An operation may be named again: the fields of the second are written
    `watermark.2.size`, and it may itself be named `watermark.2`. Empty fields count as absent.

    With a preset the fields go before what it says, and operations that it has not are added to its own,
    where they are of use. Raises what `parse_recipe` raises.
    """
    given = dict(labelled(preset)) if preset else {}
    names = listed_names(operations)
    _check_count(len(names) or len(given))
    labels = arranged([*given, *names], listed=list(given)) if given else told_apart(names)
    _check_count(len(labels))
    steps = {label: given.get(label) or {"operation": operation_of(label)} for label in labels}
    takes = {label: parameters_of(_class_of(step["operation"])) for label, step in steps.items()}
    for field, value in fields.items():
        if value:
            label, parameter = _owner(field, takes)
            boolean = takes[label][parameter].get("type") == "boolean"
            steps[label][parameter] = _switch(value) if boolean else value
    called = preset.name if preset else ""
    return Recipe(tuple(_operation(step, strict=False) for step in steps.values()), called)


def listed_names(operations: Iterable[str]) -> list[str]:
    """Return the names that a short form lists, such as `resize,watermark`.

    Raises:
        Rejected: they are more than a recipe has, code `too-many-operations`; nothing was looked up yet.
    """
    names = [name for part in operations for name in re.split(r"[,\s]+", part) if name]
    _check_most(len(names))
    return names


def labelled(recipe: Recipe) -> list[tuple[str, dict[str, object]]]:
    """Return each step as JSON under what its fields begin with: `watermark`, `watermark.2`, and so on."""
    labels = told_apart([name_of(operation) for operation in recipe.operations])
    return list(zip(labels, map(_canonical, recipe.operations), strict=True))


def operation_of(label: str) -> str:
    """Return the name of the operation of which `watermark.2` is the second."""
    return _numbered(label)[0]


def further_labels(name: str) -> list[str]:
    """Return what the fields of every further operation of a name begin with: `watermark.2` and so on."""
    return [f"{name}.{number}" for number in range(2, MOST_OPERATIONS + 1)]


def arranged(labels: Iterable[str], listed: Sequence[str] = ()) -> list[str]:
    """Return each label once, in an order that is of use; what is listed stays in the order of the list."""
    wanted = set(labels)
    ordered = [label for label in dict.fromkeys(listed) if label in wanted]
    for label in sorted(wanted - set(listed), key=lambda label: (_rank(label), *_numbered(label))):
        later = (place for place, other in enumerate(ordered) if _rank(other) > _rank(label))
        ordered.insert(next(later, len(ordered)), label)
    return ordered


def _shrunk(size: tuple[int, int], shape: tuple[int, int], least: tuple[int, int]) -> tuple[int, int]:
    """Return the size whose frame becomes one of `least` where one of `size` becomes one of `shape`."""
    share = max(least[0] / shape[0], least[1] / shape[1])
    # A hair above a whole number is that number: the decoder halves, or does not.
    return math.ceil(size[0] * share - 1e-6), math.ceil(size[1] * share - 1e-6)


_SHAPE = 'A recipe is JSON such as {"operations": [{"operation": "watermark", "text": "© 2026"}]}.'


def _check_count(count: int) -> None:
    if not count:
        raise Rejected("no-operations", f"Choose at least one operation: {', '.join(catalogue())}.")
    _check_most(count)


def _check_most(count: int) -> None:
    if count > MOST_OPERATIONS:
        raise Rejected("too-many-operations", f"A recipe can have at most {MOST_OPERATIONS} operations.")


def told_apart(names: Iterable[str]) -> list[str]:
    """Return what the fields of each step begin with: its name, and the next free number if that is taken."""
    labels: list[str] = []
    for name in names:
        label, number = name, 2
        while label in labels:
            label, number = f"{operation_of(name)}.{number}", number + 1
        labels.append(label)
    return labels


def _numbered(label: str) -> tuple[str, int]:
    """Return the name of an operation, and the how manieth of its name it is."""
    numbered = _NUMBERED.fullmatch(label)
    return (numbered[1], int(numbered[2])) if numbered and label not in catalogue() else (label, 1)


def _rank(label: str) -> int:
    cls = catalogue().get(operation_of(label))
    return KINDS.index(cls.kind) if cls else 0


def _class_of(name: object) -> type[Operation]:
    found = catalogue().get(name) if isinstance(name, str) else None
    if found is None:
        detail = f"There is no operation {_quoted(name)}; there are {', '.join(catalogue())}."
        raise Rejected("unknown-operation", detail)
    return found


def _operation(step: Mapping[str, object], *, strict: bool) -> Operation:
    cls = _class_of(step.get("operation"))
    try:
        return msgspec.convert(step, type=cls, strict=strict)
    except msgspec.ValidationError as exc:
        raise Rejected("invalid-parameter", _sentence(cls, str(exc))) from exc


def _owner(field: str, takes: Mapping[str, Mapping[str, object]]) -> tuple[str, str]:
    owners = [(name, field) for name, parameters in takes.items() if field in parameters]
    if not owners:
        label, _, parameter = field.rpartition(".")
        owners = [(label, parameter)] if parameter in takes.get(label, ()) else []
    if len(owners) > 1:
        spelt = " or ".join(f"{name}.{parameter}" for name, parameter in owners)
        raise Rejected("invalid-parameter", f"{field} belongs to several operations; write {spelt}.")
    if not owners:
        detail = f"None of the chosen operations ({', '.join(takes)}) takes a parameter {_quoted(field)}."
        raise Rejected("invalid-parameter", detail)
    return owners[0]


def _switch(value: str) -> object:
    """Read a check box; what is neither yes nor no is left to be refused."""
    return True if value.lower() in _YES else False if value.lower() in _NO else value


def _canonical(operation: Operation) -> dict[str, object]:
    step = cast("dict[str, object]", msgspec.to_builtins(operation))
    # Minus zero equals zero and is written otherwise.
    return {key: 0.0 if isinstance(value, float) and not value else value for key, value in step.items()}


def _sentence(cls: type[Operation], message: str) -> str:
    """Say what a parameter must be, from its schema; the validator's words speak of types."""
    properties = parameters_of(cls)
    if unknown := _UNKNOWN_FIELD.search(message):
        takes = f"it takes {', '.join(properties)}" if properties else "it takes none"
        return f"{name_of(cls)} has no parameter {_quoted(unknown[1])}; {takes}."
    found = _FIELD.search(message)
    if not found:
        return f"{name_of(cls)} needs {', '.join(schema_of(cls)['required'])}."
    return f"{name_of(cls)}: {found[1]} must be {expected(properties[found[1]])}."


def expected(schema: Mapping[str, object]) -> str:
    """Return what a parameter must be, in words."""
    if "enum" in schema:
        return "one of " + ", ".join(str(choice) for choice in cast("list[object]", schema["enum"]))
    if "pattern" in schema:
        return f"as described: {schema.get('description', schema['pattern'])}".rstrip(".")
    if schema.get("type") == "boolean":
        return "true or false"
    if schema.get("type") == "string":
        return f"a text of at most {schema['maxLength']} characters" if "maxLength" in schema else "a text"
    kind = {"integer": "a whole number", "number": "a number"}.get(str(schema.get("type")), "as described")
    bounds = [f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema]
    return " ".join([kind, *bounds])


def _quoted(word: object) -> str:
    text = word if isinstance(word, str) else msgspec.json.encode(word).decode()
    return f"'{text[:_LONGEST_QUOTE]}'"
