"""What the documents say of the code is what the code says of itself."""

import ast
import re
import runpy
import shlex
import sys
import tomllib
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote
from uuid import UUID

import msgspec
import pytest

from devstack.services import OWN
from ebbmark import errors, events, send, store
from ebbmark.cli import AGENTS
from ebbmark.imaging.facts import NAMES
from ebbmark.imaging.operation import catalogue, name_of, operations_schema
from ebbmark.imaging.recipe import parse_recipe, recipe_from_form
from ebbmark.imaging.render import render
from ebbmark.ledger import CANCELLED, GIVEN_UP
from ebbmark.settings import Settings, variables
from ebbmark.states import JobState, PhotoState
from ebbmark.topics import TOPICS, Topic
from ingest.problems import STATUS_BY_CODE, status_of
from ingest.redrive import REFUSED
from ingest.remedies import REMEDIES
from loadtest.shapes import SHAPES
from tests.unit.imaging.photos import flat, opened, saved

ROOT = Path(__file__).parents[2]
SERVICES = ("ebbmark", "ingest", "processors", "janitor")
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
}
EVERY_DOCUMENT = pytest.mark.parametrize("name", sorted(DOCUMENTS))

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\((?![a-z]+:)([^)\s]+)\)")


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a document in one language."""
    return [body for kind, body in FENCED.findall(DOCUMENTS[name]) if kind == language]


def tables(text: str) -> Iterator[list[list[str]]]:
    """The tables of a text: rows of cells, without the two lines of the head."""
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
        yield rows[2:]


def section(name: str, heading: str) -> str:
    """The text below a heading, up to the next one of its level."""
    level, _, _ = heading.partition(" ")
    _, found, rest = DOCUMENTS[name].partition(f"\n{heading}\n")
    assert found, (name, heading)
    return re.split(rf"^{level} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def code(name: str) -> str:
    """All that a document sets as code."""
    text = DOCUMENTS[name]
    return "\n".join([*(body for _, body in FENCED.findall(text)), *SPAN.findall(FENCED.sub("", text))])


def calls(*folders: str) -> Iterator[tuple[Path, ast.Call]]:
    """Every call in the modules of those packages."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    yield path.relative_to(ROOT), node


def called(call: ast.Call) -> str:
    """The name of what is called, without what it belongs to."""
    return str(getattr(call.func, "id", getattr(call.func, "attr", "")))


def word(node: ast.AST | None) -> str | None:
    """A string literal's value."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


# Topics

SAMPLE: dict[str, object] = {
    **dict.fromkeys(
        ("n", "epoch", "fence", "width", "height", "size", "thumbnail_size", "done", "failed"), 1
    ),
    **dict.fromkeys(("attempts", "partition", "offset"), 1),
    **dict.fromkeys(("reason", "media_type", "code", "detail", "topic", "original"), ""),
    **dict.fromkeys(("first_seen", "last_seen"), "2026-01-01T00:00:00Z"),
    "job": str(UUID(int=1)),
}
KINDS_OF_EVENT = sorted(
    name
    for name, kind in vars(events).items()
    if isinstance(kind, type) and issubclass(kind, events.Event) and not kind.__subclasses__()
)
KEYS = {str(UUID(int=1)): "job", f"{UUID(int=1)}/1": "photo"}


def told(topic: Topic[events.Event]) -> list[object]:
    """A topic's row in the document, with its events as a set."""
    carried: dict[str, events.Event] = {}
    for name in KINDS_OF_EVENT:
        with suppress(errors.MalformedEvent):
            carried[name] = topic.decode(msgspec.json.encode({**SAMPLE, "type": name}))
    (key,) = {KEYS[topic.key(event)] for event in carried.values()}
    if "DeadLetter" in carried:
        key = "photo, or topic and partition"
    days = topic.retention / timedelta(days=1)
    kept = f"{days:g} d" if days > 1 else f"{days * 24:g} h"
    return [f"`{topic.name}`", key, set(carried), str(topic.partitions), kept]


def test_the_table_of_topics_is_the_code() -> None:
    (table,) = tables(section("ARCHITECTURE.md", "## Topics"))
    rows = [[name, key, set(SPAN.findall(carried)), *rest] for name, key, carried, *rest in table]
    assert rows == [told(topic) for topic in TOPICS]


# Error codes

_KINDS = "Rejected", "LimitExceeded", "Conflict", "Unavailable", "Missing"
KINDS = {name: getattr(errors, name) for name in _KINDS}
USERS = ("What was sent", "What was asked for", "How it was sent", "The job", "Our side")
CODE = re.compile(r"[a-z]+(?:-[a-z]+)*")


def raised(*folders: str) -> dict[str, set[str]]:
    """Every code that is raised, with the kinds of its errors."""
    found: dict[str, set[str]] = {}
    for _, call in calls(*folders):
        own = called(call) == "__init__" and "super()" in ast.unparse(call.func)
        given = word(call.args[0]) if call.args else None
        if given and CODE.fullmatch(given) and (own or called(call) in {*KINDS, "Aborted"}):
            found.setdefault(given, set()).add("Rejected" if own else called(call))
    return found


def answered() -> set[str]:
    """The codes that only `ingest/problems.py` gives."""
    tree = ast.parse((ROOT / "ingest/problems.py").read_text("utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) == "_answer":
            found |= {value for inner in node.args for each in ast.walk(inner) if (value := word(each))}
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "codes":
            found |= {value for each in ast.walk(node.value) if (value := word(each))}
    return {value for value in found if CODE.fullmatch(value)}


def documented() -> dict[str, list[str]]:
    """The rows of the users' tables by code."""
    rows = [
        row for each in USERS for table in tables(section("docs/errors.md", f"## {each}")) for row in table
    ]
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0].strip("`"): row[1:] for row in rows}


def test_every_error_code_has_its_line_and_every_line_its_code() -> None:
    known = raised(*SERVICES).keys() | answered() | STATUS_BY_CODE.keys() | GIVEN_UP.keys() | {CANCELLED}
    assert sorted(documented()) == sorted(known)


def test_the_fixes_of_failed_photos_are_those_that_are_told() -> None:
    (table,) = tables(section("docs/errors.md", "## What the page says of a failed photo"))
    told = [[f"`{code}`", r.meaning, r.fix, "yes" if r.retryable else "no"] for code, r in REMEDIES.items()]
    assert table == told == sorted(told)
    assert {code for code, row in documented().items() if "photo" in row[0]} == REMEDIES.keys()


def test_every_code_of_the_command_line_has_its_line() -> None:
    (table,) = tables(section("docs/errors.md", "## The command line"))
    given = {word(call.args[0]) for _, call in calls("ebbmark/sending") if called(call) == "RefusedError"}
    assert sorted(row[0].strip("`") for row in table) == sorted(filter(None, given))


def test_the_status_of_a_code_is_the_one_that_is_answered() -> None:
    rows = documented()
    for given, kinds in raised(*SERVICES).items():
        answers = {str(status_of(KINDS[kind](given, ""))) for kind in kinds & KINDS.keys()}
        assert set(re.findall(r"\d{3}", rows[given][0])) <= (answers or {"499"}), given


def test_a_code_of_the_door_has_a_status_and_one_of_a_photo_says_so() -> None:
    rows = documented()
    assert [given for given in raised("ingest") if not re.search(r"\d{3}", rows[given][0])] == []
    photos = {*raised("ebbmark/imaging"), *raised("processors"), *GIVEN_UP, CANCELLED, "file-too-large"}
    assert {given for given, row in rows.items() if "photo" in row[0]} == photos


def test_every_reason_of_a_dead_letter_has_its_line() -> None:
    (table,) = tables(section("docs/errors.md", "## Reasons of dead letters"))
    places = {"MalformedEvent": 0, "_bury": 1}
    given = [word(call.args[places[called(call)]]) for _, call in calls("ebbmark") if called(call) in places]
    reasons = {*GIVEN_UP, *filter(None, given)}
    assert sorted(row[0].strip("`") for row in table) == sorted(reasons)


def test_every_reason_not_to_redrive_has_its_line() -> None:
    (table,) = tables(section("docs/errors.md", "## Why a dead letter is not redriven"))
    assert [row[0].strip("`") for row in table] == sorted(REFUSED)


def test_every_metric_stands_in_the_operating_manual_with_its_help_and_labels() -> None:
    written: list[list[str]] = []
    for path, call in calls("observability"):
        if path.name == "metrics.py" and called(call) in {"Counter", "Gauge", "Histogram"}:
            name, about, *labels = (ast.literal_eval(each) for each in call.args)
            written.append([f"`{name}`", ", ".join(labels[0]) if labels else "—", about])
    (table,) = tables(section("docs/operating.md", "## Metrics"))
    assert sorted(table) == sorted(written)


def test_every_metric_of_the_load_generator_stands_in_its_manual() -> None:
    written: list[list[str]] = []
    for path, call in calls("loadtest"):
        if path.name == "metrics.py" and called(call) in {"Counter", "Gauge", "Histogram"}:
            name, about, *labels = (ast.literal_eval(each) for each in call.args)
            written.append([f"`{name}`", ", ".join(labels[0]) if labels else "—", about])
    (table,) = tables(section("docs/load.md", "## In Prometheus"))
    assert sorted(table) == sorted(written)


def test_every_shape_of_load_stands_in_the_manual() -> None:
    (table,) = tables(section("docs/load.md", "## The shapes"))
    assert [row[0].strip("`") for row in table] == list(SHAPES)
    ways = {"event stream": "events", "polls": "polls"}
    assert [ways[row[2]] for row in table] == [shape.watch for shape in SHAPES.values()]


@EVERY_DOCUMENT
def test_metrics_that_are_named_exist(name: str) -> None:
    homes = ("observability/metrics.py", "loadtest/metrics.py")
    known = "".join((ROOT / home).read_text("utf-8") for home in homes)
    named = re.findall(r"\bebbmark_[a-z]+_[a-z_]+", DOCUMENTS[name])
    assert [each for each in named if f'"{each}"' not in known] == []


@EVERY_DOCUMENT
def test_settings_that_are_named_exist(name: str) -> None:
    known = {*variables(), *OWN, *(name.removesuffix("_FILE") for name in OWN)}
    named = re.findall(r"EBBMARK_[A-Z][A-Z_]*[A-Z]", DOCUMENTS[name])
    assert [each for each in named if each.removesuffix("_FILE") not in known] == []


@EVERY_DOCUMENT
def test_make_targets_and_their_variables_exist(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for line in re.findall(r"(?:^|[\s`])make (?!up: )([a-z][^\n#…]*)", code(name), re.MULTILINE):
        target, *rest = shlex.split(line)
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), line
        for given in rest:
            if "=" in given:
                assert re.search(rf"^{given.partition('=')[0]} \?=", makefile, re.MULTILINE), line


@EVERY_DOCUMENT
def test_commands_of_the_program_exist(name: str) -> None:
    known = set(re.findall(r'add_parser\("(\w+)"', (ROOT / "ebbmark/cli.py").read_text("utf-8")))
    assert {"ingest", "send"} <= known
    for command in re.findall(r"(?:^|[\s/])ebbmark ([a-z]+)", code(name), re.MULTILINE):
        assert command in known
    for agents in re.findall(r"--agents ([a-z,]+)", code(name)):
        assert set(agents.split(",")) <= set(AGENTS)


def anchors(name: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", DOCUMENTS[name]), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@EVERY_DOCUMENT
def test_relative_links_and_images_lead_somewhere(name: str) -> None:
    for link in LINK.findall(FENCED.sub("", DOCUMENTS[name])):
        target, _, anchor = unquote(link).partition("#")
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(str(path.resolve().relative_to(ROOT))), link


@EVERY_DOCUMENT
def test_files_and_folders_that_are_named_exist(name: str) -> None:
    folders = "ebbmark|ingest|processors|janitor|observability|devstack|loadtest|deploy|tests|docs"
    for path in SPAN.findall(FENCED.sub("", DOCUMENTS[name])):
        if re.fullmatch(rf"(?:{folders})/[\w/.-]*|[\w.-]+\.(?:toml|yaml|lock)", path):
            assert (ROOT / path).exists() or path == "loadtest/results/", path  # which the benchmark makes


def test_every_package_has_its_line_in_the_tree() -> None:
    (table,) = tables(section("ARCHITECTURE.md", "## The tree"))
    packages = {f"{path.parent.relative_to(ROOT)}/" for path in ROOT.glob("*/__init__.py")}
    assert packages <= {row[0].strip("`") for row in table}


def test_the_keys_of_objects_are_spelt_as_the_store_spells_them() -> None:
    (table,) = tables(section("ARCHITECTURE.md", "## Storage keys"))
    job, sha256 = UUID(int=1), bytes(range(32))
    given = {"job": job, "n": 7, "epoch": 2, "hash": sha256[:8].hex()}
    assert [row[0].strip("`").format_map(given) for row in table] == [
        store.original_key(job, 7, sha256),
        store.logo_key(job, sha256),
        store.result_key(job, 2, 7),
    ]


def test_the_times_of_a_job_are_the_defaults() -> None:
    (table,) = tables(section("docs/operating.md", "## How long things live"))
    units = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
    for name, said, _ in table:
        part, key, _ = variables()[name.strip("`")]
        count, unit = said.split()
        assert getattr(getattr(Settings(), part), key) == int(count) * units[unit], name


@EVERY_DOCUMENT
def test_no_document_names_a_place_on_somebody_s_machine(name: str) -> None:
    assert re.findall(r"(?<![\w.])/(?:work|home|root|tmp|Users|mnt)\b[^\s`]*", DOCUMENTS[name]) == []


@EVERY_DOCUMENT
def test_tables_have_as_many_cells_in_every_row(name: str) -> None:
    for table in re.findall(r"(?:^\|.*\|\n)+", DOCUMENTS[name], re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table.splitlines()[0]


def test_the_ways_of_jobs_and_photos_pass_all_their_states_and_no_others() -> None:
    drawn = [block for block in blocks("ARCHITECTURE.md", "mermaid") if block.startswith("stateDiagram")]
    for block, states in zip(drawn, (JobState, PhotoState), strict=True):
        edges = re.findall(r"(\S+) --> (\w+|\[\*\])", block)
        assert {source for source, _ in edges} == {"[*]", *states}
        assert {target for _, target in edges} == {"[*]", *states}


@pytest.mark.parametrize("block", blocks("ARCHITECTURE.md", "mermaid"))
def test_diagrams_are_whole(block: str) -> None:
    head, *lines = block.splitlines()
    assert re.fullmatch(r"flowchart (?:LR|TB)|sequenceDiagram|stateDiagram-v2", head)
    bare = re.sub(r'"[^"]*"', "", block)
    assert block.count('"') % 2 == 0
    for left, right in ("()", "[]", "{}"):
        assert bare.count(left) == bare.count(right)
    if head.startswith("flowchart"):
        nodes = set(re.findall(r"^\s+(\w+)[\[(]", bare, re.MULTILINE))
        ends = {end for edge in re.findall(r"(\w+) -->(?:\|\|)? (\w+)", bare) for end in edge}
        assert ends <= nodes
        assert ends
        assert len(re.findall(r"^\s+subgraph ", block, re.MULTILINE)) == [x.strip() for x in lines].count(
            "end"
        )
    if head == "sequenceDiagram":
        known = set(re.findall(r"participant (\w+) as", block))
        for line in lines[len(known) :]:
            found = re.fullmatch(r"\s+(\w+)--?>>(\w+): \S.*", line)
            assert found, line
            assert set(found.groups()) <= known


def commands(name: str, program: str) -> list[list[str]]:
    """The command lines of one program in the shell blocks of a document."""
    lines = [line.split("  #")[0] for block in blocks(name, "sh") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if re.match(rf"(?:\S*/)?{program} ", line)]


def test_the_readme_s_curl_example_is_a_form_that_is_accepted() -> None:
    (line,) = commands("README.md", "curl")
    given = [line[at + 1].partition("=") for at, each in enumerate(line) if each == "-F"]
    fields = {name: value for name, _, value in given if not value.startswith("@")}
    assert {name for name, _, value in given if value.startswith("@")} == {"files"}
    recipe = recipe_from_form([fields.pop("operations")], fields)
    assert [type(each).__name__ for each in recipe.operations] == ["Resize", "Watermark"]


def test_the_readme_s_send_example_is_understood() -> None:
    (line,) = [each for each in commands("README.md", "ebbmark") if each[1] == "send"]
    parser = ArgumentParser()
    send.add_arguments(parser)
    fields = send.form_fields(vars(parser.parse_args(line[2:])))
    assert recipe_from_form([fields.pop("operations")], fields)


def test_the_readme_names_every_operation_that_is_built_in() -> None:
    (table,) = tables(section("README.md", "## What can be done to photos"))
    named = [name for row in table for name in SPAN.findall(row[0])]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert sorted(named) == sorted(project["entry-points"]["ebbmark.operations"])


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The manual's example, installed as pip would."""
    project = tomllib.loads(blocks("docs/extending.md", "toml")[0])
    name, module = (
        project["project"]["name"],
        project["tool"]["hatch"]["build"]["targets"]["wheel"]["include"][0],
    )
    (tmp_path / module).write_text(blocks("docs/extending.md", "python")[0])
    about = tmp_path / f"{name.replace('-', '_')}-1.0.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
    points = project["project"]["entry-points"]["ebbmark.operations"].items()
    (about / "entry_points.txt").write_text(
        "[ebbmark.operations]\n" + "".join(f"{key} = {value}\n" for key, value in points)
    )
    monkeypatch.syspath_prepend(tmp_path)
    catalogue.cache_clear()
    yield
    sys.modules.pop(module.removesuffix(".py"), None)
    catalogue.cache_clear()


@pytest.mark.usefixtures("plugin")
def test_the_manual_s_plugin_works_as_printed() -> None:
    described = {each["name"]: each for each in operations_schema()}
    assert "mat" in described
    recipe = recipe_from_form(["mat"], {"edge": "0.1", "paint": "#102030"})
    photo = saved(flat((200, 100), "#ffffff"), "PNG")
    framed = opened(render(photo, recipe.to_json()).data)
    assert framed.size == (220, 120)
    assert framed.getpixel((0, 0)) == (0x10, 0x20, 0x30)
    assert framed.getpixel((10, 10)) == (255, 255, 255)
    with pytest.raises(errors.Rejected, match="mat: edge must be"):
        parse_recipe('{"operations": [{"operation": "mat", "edge": 2}]}')


def test_the_page_of_marks_has_every_parameter_with_its_default() -> None:
    (table,) = tables(section("docs/operations.md", "## Parameters"))
    (described,) = [each for each in operations_schema() if each["name"] == "watermark"]
    properties: dict[str, dict[str, object]] = described["parameters"]["properties"]  # pyright: ignore[reportIndexIssue, reportAssignmentType] - JSON
    defaults = {name: schema.get("default") for name, schema in properties.items()}
    said = {
        name: "" if default in {None, ""} else msgspec.json.encode(default).decode().strip('"')
        for name, default in defaults.items()
    }
    assert {row[0].strip("`"): row[1].strip("`") for row in table} == said


def test_the_page_of_marks_has_every_fact() -> None:
    (table,) = tables(section("docs/operations.md", "## Facts"))
    assert {row[0].strip("`{}"): row[1] for row in table} == dict(NAMES)


def test_the_examples_of_several_marks_are_accepted_and_one_and_the_same_kind() -> None:
    (whole,) = blocks("docs/operations.md", "json")
    (line,) = commands("docs/operations.md", "curl")
    given = [line[at + 1].partition("=") for at, each in enumerate(line) if each == "-F"]
    fields = {name: value for name, _, value in given if not value.startswith("@")}
    short = recipe_from_form([fields.pop("operations")], fields)
    assert [name_of(each) for each in short.operations] == ["watermark", "watermark"]
    assert [name_of(each) for each in parse_recipe(whole).operations] == ["watermark", "watermark"]


def test_no_picture_in_the_documents_is_larger_than_400_kilobytes() -> None:
    pictures = [path for path in (ROOT / "docs" / "images").iterdir() if path.is_file()]
    assert {path.name for path in pictures} >= {"contact-sheet.webp"}
    assert all(path.stat().st_size <= 400_000 for path in pictures)


def test_the_contact_sheet_shows_every_position_and_style_over_every_kind_of_photo() -> None:
    sheet = runpy.run_path(str(ROOT / "docs" / "contact_sheet.py"))
    marks = [mark for marks in sheet["MARKS"].values() for mark in marks]
    shown = {
        name: {getattr(mark, name) for mark in marks} for name in catalogue()["watermark"].__struct_fields__
    }
    assert {name for name, values in shown.items() if len(values) == 1} == {
        "min_size",
        "max_size",
        "margin",
        "align",
    }
    kinds = " ".join(sheet["PHOTOS"])
    assert all(
        kind in kinds
        for kind in ("light", "dark", "busy", "tiny", "huge", "portrait", "landscape", "panorama")
    )
