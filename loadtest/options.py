"""What can be said of a run: the command and the generator that it starts understand the same."""

import argparse
from dataclasses import replace
from pathlib import Path

from loadtest import metrics
from loadtest.published import MIXES
from loadtest.shapes import SHAPES, Plan, Shape

URL = "http://127.0.0.1:8000"
FOLDER = Path(".data/load")


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what any run takes."""
    parser.add_argument("--url", default=URL, help=f"where the system is ({URL})")
    parser.add_argument("--mix", choices=list(MIXES), help="photos to send, instead of the shape's own")
    parser.add_argument("--watch", choices=["events", "polls"], help="how a sender waits, likewise")
    parser.add_argument("--poisson", action="store_true", help="arrivals at random instead of evenly spaced")
    parser.add_argument(
        "--addresses",
        type=int,
        default=250,
        help="loopback addresses to come from, as the door lets one client open so many jobs a minute (250)",
    )
    parser.add_argument(
        "--patience", type=float, default=60.0, help="seconds after which a photo counts as lost (60)"
    )
    parser.add_argument(
        "--metrics-port",
        type=int,
        default=metrics.PORT,
        help=f"where Prometheus finds the generator ({metrics.PORT}); 0 for nowhere",
    )
    parser.add_argument(
        "--out", type=Path, help="folder where the results are kept, instead of the usual ones"
    )
    parser.add_argument("--corpus", type=Path, default=FOLDER / "corpus", help="folder where photos are kept")


def add_shape_options(parser: argparse.ArgumentParser, shape: Shape) -> None:
    """Add what this shape takes."""
    for name, (default, about) in shape.options.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=float, metavar="N", help=f"{about} ({default:g})")


def add_shapes(parser: argparse.ArgumentParser) -> None:
    """Let the parser take any shape, each with its options."""
    commands = parser.add_subparsers(dest="shape", required=True, metavar="SHAPE")
    for name, shape in SHAPES.items():
        each = commands.add_parser(name, help=shape.about, description=shape.about)
        add_shape_options(each, shape)
        add_run_options(each)


def plan_of(args: argparse.Namespace) -> Plan:
    """Return the plan that the command line asks for."""
    shape = SHAPES[args.shape]
    given = {name: value for name in shape.options if (value := getattr(args, name)) is not None}
    plan = shape.plan(args.shape, given)
    said = {"mix": args.mix or plan.mix, "watch": args.watch or plan.watch}
    changed = any(value != getattr(plan, name) for name, value in said.items())
    return replace(plan, **said, poisson=args.poisson, whole=plan.whole and not changed)


def as_arguments(args: argparse.Namespace) -> list[str]:
    """Return a command line that says the same run again."""
    said = ["url", "mix", "watch", "addresses", "patience", "metrics_port", "corpus"]
    words: list[str] = [args.shape]
    for name in (*SHAPES[args.shape].options, *said):
        if (value := getattr(args, name)) is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return [*words, *(["--poisson"] if args.poisson else [])]
