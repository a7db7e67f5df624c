"""An operation is one step of a recipe: a frozen value that validates, describes and performs itself.

A plugin inherits `Operation`, declares its parameters as annotated fields, implements `edit` and names
the class in the entry-point group `ebbmark.operations`. Nothing else needs to know it: parsing, JSON
Schema, the form, the short form and the rendering all start from the class.
"""

import functools
import importlib.metadata
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

import msgspec

from ebbmark.errors import LimitExceeded
from ebbmark.imaging.codec import MEGA, Encoding, Limits

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ENTRY_POINT_GROUP", "Context", "Operation", "catalogue", "operations_schema"]

ENTRY_POINT_GROUP = "ebbmark.operations"

T = TypeVar("T")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation may know besides its own parameters and the frame."""

    limits: Limits = Limits()
    """No operation may return a frame with more pixels than `limits.pixels`."""

    logo: bytes | None = None
    """The file of the job's logo, as it was uploaded."""

    facts: Callable[[], Mapping[str, str]] = dict
    """What is known of this photo, each only if known; `ebbmark.imaging.facts.NAMES` are the names."""

    scale: float = 1.0
    """Pixels of this frame for each of the result: below 1 where a small copy shows what that will be.

    Only what is measured in pixels needs it; what is a share of the frame is alike at any size.
    """

    def full(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the frame of which one of this size is a copy."""
        return size if self.scale == 1 else (round(size[0] / self.scale), round(size[1] / self.scale))

    decided: dict[str, object] = msgspec.field(default_factory=dict[str, object])
    """What `once` remembers; each operation of a recipe has a context of its own."""

    def once(self, name: str, decide: Callable[[], T]) -> T:
        """Return what was decided when this was first asked: of an animation, for its first frame.

        What an operation makes out from the pixels it asks for here, or its frames would flicker.
        """
        if name not in self.decided:
            self.decided[name] = decide()
        return cast("T", self.decided[name])

    def check(self, size: tuple[int, int]) -> None:
        """Raise `LimitExceeded` with `too-many-pixels` when no frame may have this size."""
        pixels, most = size[0] * size[1], self.limits.pixels
        if pixels > most:
            detail = f"The result would have {pixels / MEGA:.0f} megapixels; the limit is {most / MEGA:.0f}."
            raise LimitExceeded("too-many-pixels", detail)


class OperationMeta(msgspec.StructMeta, ABCMeta):
    """Lets a Struct be an abstract base class as well."""


class Operation(
    msgspec.Struct,
    metaclass=OperationMeta,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="operation",
    tag=str.lower,
):
    """One step of a recipe.

    The name of an operation is its class name in lower case, which must also be the name of its entry
    point. A field is a parameter: its type and `msgspec.Meta` are its validation and its description.
    A check that needs more than one field stands in `__post_init__` and raises `Rejected`.
    """

    summary: ClassVar[str] = ""
    """One sentence for the person who chooses operations."""

    encodes_only: ClassVar[bool] = False
    """True when the operation leaves every pixel as it is and only says how the result is written."""

    luma_only: ClassVar[bool] = False
    """True when the operation looks at no colour, so that the decoder need not make any."""

    @abstractmethod
    def edit(self, image: "Image", context: Context) -> "Image":
        """Return the edited frame.

        `image` is upright and of mode RGB, RGBA or L, and the operation's to change in place. The frame
        returned is of one of these modes. Equal input gives equal output. Of an animation each frame is
        edited in turn, and all must come out of one size and mode. Raises `Rejected` when this
        photo cannot be edited this way, `LimitExceeded` when the frame would be larger than allowed.
        """

    def enough(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """Return the least size of a frame that gives the same result as one of `size`, if less is enough.

        It lets the decoder skip detail that the first operation would throw away.
        """
        del size
        return None

    def reshaped(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """Return the size of the frame made of one of `size`, if `edit` only moves or averages pixels.

        Then a later operation that throws detail away may let the decoder skip it, and a preview is drawn
        from a small copy. None, as here, says that every pixel of the original counts; one that changes the
        size all the same is previewed in full size, which takes longer.
        """
        del size
        return None

    def encoding(self, encoding: Encoding) -> Encoding:
        """Return how the result is to be written, given what was decided so far."""
        return encoding

    def wants_logo(self) -> bool:
        """Tell whether `edit` needs `context.logo`."""
        return False


def name_of(operation: Operation | type[Operation]) -> str:
    """Return the name an operation has in a recipe."""
    return str(operation.__struct_config__.tag)


@functools.cache
def catalogue() -> dict[str, type[Operation]]:
    """Return every installed operation by name, sorted by name.

    Raises `TypeError` when an entry point names something else than an `Operation` of that name.
    """
    found: dict[str, type[Operation]] = {}
    for entry_point in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)):
        loaded = cast("object", entry_point.load())
        if not (isinstance(loaded, type) and issubclass(loaded, Operation)):
            message = f"entry point {entry_point.name} = {entry_point.value} is not an Operation"
            raise TypeError(message)
        if name_of(loaded) != entry_point.name:
            message = f"entry point {entry_point.name} names an operation called {name_of(loaded)}"
            raise TypeError(message)
        found[entry_point.name] = loaded
    return found


@functools.cache
def schema_of(operation: type[Operation]) -> dict[str, object]:
    """Return the JSON Schema of the parameters of an operation, without references; not to be changed."""
    _, components = msgspec.json.schema_components([operation])
    schema: dict[str, object] = dict(components[operation.__name__])
    declared = cast("dict[str, dict[str, object]]", schema["properties"])
    properties = {name: _plain(declared[name]) for name in declared if name != "operation"}
    required = [name for name in cast("list[str]", schema["required"]) if name != "operation"]
    schema["properties"], schema["required"] = properties, required
    return schema


def _plain(parameter: dict[str, object]) -> dict[str, object]:
    """Describe an optional parameter by what it is when given; a form knows how to leave it out."""
    alternatives = cast("list[dict[str, object]]", parameter.get("anyOf", []))
    given = [alternative for alternative in alternatives if alternative != {"type": "null"}]
    if len(given) != 1:
        return parameter
    rest = {key: value for key, value in parameter.items() if key != "anyOf"}
    return given[0] | rest


def operations_schema() -> list[dict[str, object]]:
    """Return name, title, summary and the JSON Schema of the parameters of every installed operation.

    Each parameter has a title, a description, its bounds or choices and its default: enough to make a
    form from.
    """
    return [
        {"name": name, "title": cls.__name__, "summary": cls.summary, "parameters": schema_of(cls)}
        for name, cls in catalogue().items()
    ]
