"""An operation is one step of a recipe: a frozen value that validates, describes and performs itself.

A plugin inherits `Operation`, declares its parameters as annotated fields, implements `edit` and names
the class in the entry-point group `ebbmark.operations`. Nothing else needs to know it: parsing, JSON
Schema, the form, the short form, the flags, the manual and the rendering all start from the class.
"""

import functools
import importlib.metadata
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast, get_args

import msgspec

from ebbmark.errors import EbbmarkError, LimitExceeded, Rejected
from ebbmark.imaging.codec import MEGA, Encoding, Limits

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "ENTRY_POINT_GROUP",
    "KINDS",
    "Context",
    "Kind",
    "Operation",
    "blamed",
    "catalogue",
    "name_of",
    "operations_schema",
    "parameters_of",
    "schema_of",
]

ENTRY_POINT_GROUP = "ebbmark.operations"
_SPELT = MappingProxyType({"jpeg": "JPEG", "png": "PNG", "webp": "WebP", "avif": "AVIF", "gif": "GIF"})
_DIALECT = "https://json-schema.org/draft/2020-12/schema"

Kind = Literal["turn", "shape", "filter", "mark", "frame", "format"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order in which they are of use: no resize makes a mark smaller, no filter takes its colour."""

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

    example: ClassVar[Mapping[str, object]] = MappingProxyType({})
    """Parameters that make a step; the examples of each parameter are accepted beside them, or alone."""

    kind: ClassVar[Kind] = "filter"
    """Where among others it is performed when nobody says where."""

    seconds: ClassVar[float] = 0.0
    """How much longer than `EBBMARK_WORKER_CHILD_TIMEOUT` a photo may take for the sake of this operation."""

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
        size all the same says so in `sized`.
        """
        del size
        return None

    def sized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the frame made of one of `size`, whatever becomes of its pixels.

        A preview of one that does not say so is made in full size, which takes longer.
        """
        return self.reshaped(size) or size

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

    Raises `TypeError` when an entry point cannot be loaded, or names something else than an `Operation` of
    that name: whoever starts with it would fail every photo.
    """
    found: dict[str, type[Operation]] = {}
    for entry_point in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)):
        try:
            loaded = cast("object", entry_point.load())
        except Exception as exc:
            message = f"entry point {entry_point.name} = {entry_point.value} cannot be loaded: {exc!r}"
            raise TypeError(message) from exc
        if not (isinstance(loaded, type) and issubclass(loaded, Operation)):
            message = f"entry point {entry_point.name} = {entry_point.value} is not an Operation"
            raise TypeError(message)
        if name_of(loaded) != entry_point.name:
            message = f"entry point {entry_point.name} names an operation called {name_of(loaded)}"
            raise TypeError(message)
        found[entry_point.name] = loaded
    return found


@contextmanager
def blamed(operation: Operation) -> Generator[None]:
    """Turn what nobody foresaw into a failure of the photo: equal input would raise it at each retry.

    What was raised is named by its kind alone, since its words may quote the photo. Raises `Rejected`, code
    `operation-failed`.
    """
    try:
        yield
    except (EbbmarkError, MemoryError):
        raise
    except Exception as exc:
        detail = f"The operation {name_of(operation)} is at fault: it ended with {type(exc).__name__}."
        raise Rejected("operation-failed", detail) from exc


@functools.cache
def schema_of(operation: type[Operation]) -> dict[str, Any]:
    """Return the JSON Schema of the parameters of an operation, without references; not to be changed.

    A parameter that may be left out is described as what it is when it is given. It has a `default` unless
    leaving it out means something that no value says.
    """
    _, components = msgspec.json.schema_components([operation])
    declared: dict[str, Any] = components[operation.__name__]
    name = name_of(operation)
    example = dict(operation.example)
    return {
        "$schema": _DIALECT,
        "$id": f"urn:ebbmark:operation:{name}",
        "title": operation.__name__,
        "description": operation.summary,
        "type": "object",
        "properties": {
            parameter: _described(parameter, schema)
            for parameter, schema in declared["properties"].items()
            if parameter != "operation"
        },
        "required": [parameter for parameter in declared["required"] if parameter != "operation"],
        "additionalProperties": False,
    } | ({"examples": [example]} if example else {})


def parameters_of(operation: type[Operation]) -> dict[str, dict[str, Any]]:
    """Return the schema of each parameter by its name; not to be changed."""
    return cast("dict[str, dict[str, Any]]", schema_of(operation)["properties"])


def operations_schema() -> list[dict[str, Any]]:
    """Return name, title, summary, kind and the JSON Schema of the parameters of every operation."""
    return [
        {
            "name": name,
            "title": cls.__name__,
            "summary": cls.summary,
            "kind": cls.kind,
            "parameters": schema_of(cls),
        }
        for name, cls in catalogue().items()
    ]


def _described(name: str, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of one parameter, with titles of what there is to choose from, and with examples."""
    given = [each for each in declared.get("anyOf", []) if each != {"type": "null"}]
    outer = {key: value for key, value in declared.items() if key != "anyOf"}
    schema = given[0] | outer if len(given) == 1 else dict(declared)
    if schema.get("default", ...) is None:
        del schema["default"]
    schema.setdefault("title", _words(name))
    schema.setdefault("description", "")
    if "enum" in schema:
        schema.setdefault("oneOf", [{"const": each, "title": _words(each)} for each in schema["enum"]])
        schema.setdefault("examples", schema["enum"])
    if schema.get("type") == "boolean":
        schema.setdefault("examples", [not schema.get("default", False)])
    return schema


def _words(name: object) -> str:
    text = str(name)
    return _SPELT.get(text) or text.replace("-", " ").replace("_", " ").capitalize()
