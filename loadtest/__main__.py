"""`python -m loadtest`: load tests of a running system, and what they found."""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from loadtest import compare, options, report
from loadtest.options import FOLDER
from loadtest.own import NobodyError, reached
from loadtest.record import dumped, say
from loadtest.run import GeneratorError, run
from loadtest.samples import Sample
from loadtest.shapes import SHAPES
from loadtest.verdicts import as_json
from loadtest.words import verdict_lines

_ENDINGS = """Exit codes: 0 every promise was kept, 1 one was broken or the run proves nothing, 3 nothing was
measured. Latencies count from the planned start; docs/load.md says what each shape means."""


def main() -> int:
    """Do what the command line asks for."""
    args = _parser().parse_args()
    try:
        return int(args.act(args))
    except (GeneratorError, NobodyError, report.UnreadableError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="loadtest", description=__doc__, epilog=_ENDINGS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    about = "send one shape of load and judge what comes back"
    shapes = commands.add_parser("run", help=about, description=about, epilog=_ENDINGS)
    options.add_shapes(shapes)
    shapes.set_defaults(act=_run)
    for name in ("bulk", "burst"):
        shape = SHAPES[name]
        each = commands.add_parser(name, help=shape.about, description=shape.about, epilog=_ENDINGS)
        options.add_shape_options(each, shape)
        options.add_run_options(each)
        each.set_defaults(act=_run, shape=name)
    about = "the same photos through 1, 2 and 4 rendering workers, on systems of its own"
    each = commands.add_parser("compare", help=about, description=about, epilog=_ENDINGS)
    compare.add_options(each)
    each.set_defaults(act=compare.compare, shape=compare.SHAPE)
    about = "make one page of kept results, with plots and verdicts, and print the verdicts as JSON"
    analyze = commands.add_parser("analyze", help=about, description=about)
    analyze.add_argument("results", type=Path, nargs="+", metavar="RESULT", help="any file of a kept run")
    analyze.add_argument("--out", type=Path, default=FOLDER / "report.html", help="the page to write")
    analyze.set_defaults(act=_analyze)
    return parser


def _run(args: argparse.Namespace) -> int:
    with ExitStack() as stack:
        args.url = stack.enter_context(reached(args.url))
        found = run(args)
    page = (args.out or FOLDER) / f"{Path(found['kept']).name}.html"
    _write(page, [report.load(Path(found["kept"]))])
    say("\n".join(verdict_lines(found["verdicts"])))
    say(f"\nThe report: {page.absolute()}")
    return 0 if found["verdicts"]["verdict"] == "kept" else 1


def _analyze(args: argparse.Namespace) -> int:
    runs = [report.load(path) for path in args.results]
    _write(args.out, runs)
    judged: list[dict[str, Any]] = [as_json(found) for found, _ in runs]
    say(dumped(judged))
    sys.stderr.write(f"The report: {args.out.absolute()}\n")
    return 0 if all(each["verdict"] == "kept" for each in judged) else 1


def _write(path: Path, runs: list[tuple[dict[str, Any], list[Sample]]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report.page(runs), "utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
