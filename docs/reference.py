"""Write reference.md from what the operations say of themselves: python docs/reference.py."""  # noqa: INP001 - a script, not a package

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ebbmark.imaging.operation import KINDS, operations_schema
from ebbmark.imaging.recipe import expected
from ebbmark.presets import Preset, shipped

PAGE = Path(__file__).with_name("reference.md")

HEAD = """\
# Operations and presets

<!-- Written by make reference from the schema of the operations: change what it says there. -->

What `GET /operations` and `GET /presets` say of what comes with Ebbmark. A recipe is a list of these
operations, as JSON, in the order in which they are performed:

```json
{}
```

In the short form they are named in `operations=…`, and a parameter is a field: `{}`, or
`{}` where two operations have it. `ebbmark send` has a flag for each, by the same names.

"""


def _code(value: object) -> str:
    return f"`{msgspec.json.encode(value).decode().strip(chr(34))}`"


def _takes(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(_code(each) for each in schema["enum"])
    return expected(schema) if schema.get("type") in {"boolean", "integer", "number"} else "text"


def _parameters(properties: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "| parameter | default | takes | says | such as |"
    yield "| --- | --- | --- | --- | --- |"
    for name, schema in properties.items():
        default = "" if schema.get("default", "") == "" else _code(schema["default"])
        examples = "" if "enum" in schema else ", ".join(_code(each) for each in schema.get("examples", ()))
        cells = (f"`{name}`", default, _takes(schema), schema["description"], examples)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _operation(operation: Mapping[str, Any]) -> Iterator[str]:
    parameters = operation["parameters"]
    yield f"## `{operation['name']}`"
    yield ""
    yield operation["summary"]
    for example in parameters.get("examples", ()):
        step = {"operation": operation["name"], **example}
        yield from ("", "```json", msgspec.json.encode({"operations": [step]}).decode(), "```")
    yield ""
    if parameters["properties"]:
        yield from _parameters(parameters["properties"])
    else:
        yield "It has no parameters."
    yield ""


def _preset(preset: Preset) -> str:
    names = ", ".join(
        f"`{step['operation']}`" for step in msgspec.json.decode(preset.recipe.to_json())["operations"]
    )
    return f"| `{preset.name}` | {preset.summary} | {names} |"


def reference() -> str:
    """Return the page."""
    operations = sorted(operations_schema(), key=lambda each: (KINDS.index(each["kind"]), each["name"]))
    whole = {
        "operations": [
            {"operation": "resize", "width": 1600},
            {"operation": "watermark", "text": "© Ann Example 2026"},
        ]
    }
    lines = [line for each in operations for line in _operation(each)]
    lines += [
        "## Presets",
        "",
        "`preset=NAME` in a form, in JSON or in a link, `ebbmark send --preset NAME`; other fields go before",
        "what a preset says.",
        "",
    ]
    lines += ["| preset | is | operations |", "| --- | --- | --- |", *map(_preset, shipped().values())]
    head = HEAD.format(msgspec.json.encode(whole).decode(), "text=© Ann", "watermark.size=0.1")
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(reference(), "utf-8")
