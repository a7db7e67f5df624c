"""What a form shows: the steps of a recipe in their order, then every other operation."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from ebbmark.imaging.operation import KINDS
from ebbmark.imaging.recipe import operation_of

__all__ = ["Form", "Step", "Values", "form_of"]

Values = Mapping[str, object]
_MARK = "watermark"
_BEGINNING: tuple[tuple[str, Values], ...] = ((_MARK, {}),)
"""Most people come for a mark."""


class Step(Struct, frozen=True, kw_only=True):
    """One operation of a form; its fields begin with its label."""

    label: str
    name: str
    title: str
    summary: str
    rank: int
    """Its place among others, where nobody says which."""
    properties: Mapping[str, Mapping[str, Any]]
    """The schema of each parameter, with the `value` that its field has."""

    @property
    def id(self) -> str:
        """What the ids of its fields begin with."""
        return self.label.replace(".", "-")

    @property
    def defaults(self) -> str:
        """What its fields say when they say nothing, as JSON."""
        known = {name: schema.get("default", "") for name, schema in self.properties.items()}
        return msgspec.json.encode(known).decode()

    @property
    def of(self) -> str:
        """What tells the names of its fields from those of the first one of its kind."""
        return "" if self.label == self.name else f" of {self.title}"


class Form(Struct, frozen=True, kw_only=True):
    """The steps that are ticked, in their order; the others; and one more mark."""

    chosen: Sequence[Step]
    further: Sequence[Step]
    spare: Step | None

    @property
    def marks(self) -> int:
        """How many marks are ticked."""
        return sum(step.name == _MARK for step in self.chosen)

    @property
    def logo_at(self) -> str | None:
        """The label of the mark with which a logo is chosen: the first, as there is one logo for all."""
        return next((step.label for step in (*self.chosen, *self.further) if step.name == _MARK), None)


def form_of(
    operations: Sequence[Mapping[str, Any]], given: Sequence[tuple[str, Values]] | None = None
) -> Form:
    """Return the form of the steps of a recipe by their labels, without what is not installed; or of none."""
    by_name = {each["name"]: each for each in operations}
    wanted = [
        (label, values)
        for label, values in (_BEGINNING if given is None else given)
        if operation_of(label) in by_name
    ]
    chosen = [_step(label, by_name[operation_of(label)], values) for label, values in wanted]
    taken = {step.label for step in chosen}
    further = [_step(name, each, {}) for name, each in by_name.items() if name not in taken]
    return Form(
        chosen=chosen,
        further=sorted(further, key=lambda step: (step.rank, step.name)),
        spare=_step(_free(taken), by_name[_MARK], {}) if _MARK in by_name else None,
    )


def _step(label: str, operation: Mapping[str, Any], values: Values) -> Step:
    name, title = str(operation["name"]), str(operation["title"])
    return Step(
        label=label,
        name=name,
        title=title if label == name else f"{title} {label.rpartition('.')[2]}",
        summary=operation["summary"],
        rank=KINDS.index(operation.get("kind", "filter")),
        properties={
            parameter: {**schema, "value": _value(values.get(parameter), schema)}
            for parameter, schema in operation["parameters"]["properties"].items()
        },
    )


def _value(said: object, schema: Mapping[str, Any]) -> object:
    return said if said is not None else schema.get("default", "")


def _free(taken: set[str]) -> str:
    """Return the label of one more mark."""
    number = 2
    while f"{_MARK}.{number}" in taken:
        number += 1
    return f"{_MARK}.{number}"
