"""One run: the generator as a program of its own, its progress, and what is kept of it."""

import json
import signal
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from loadtest import record, samples
from loadtest.bar import bar
from loadtest.options import FOLDER, as_arguments, plan_of
from loadtest.samples import Sample
from loadtest.shapes import Plan
from loadtest.summary import summary
from loadtest.verdicts import as_json
from loadtest.words import markdown


class GeneratorError(Exception):
    """The generator ended without results; it has said why."""


def run(args: Namespace) -> dict[str, Any]:
    """Run what the command line asks for, and return its summary with verdicts and where it is kept.

    Raises:
        GeneratorError: nothing was measured.
    """
    found, taken = measured(args)
    kept = record.keep(markdown(found), found, of=found["shape"], folder=folder_of(args, found))
    samples.write(kept.with_name(f"{kept.name}.csv.gz"), taken)
    return {**found, "kept": str(kept)}


def measured(args: Namespace) -> tuple[dict[str, Any], list[Sample]]:
    """Run it and return its summary with verdicts, and its samples; keep nothing. Raises as `run` does."""
    with tempfile.TemporaryDirectory(prefix="ebbmark-load-") as folder:
        _generate(plan_of(args), as_arguments(args), Path(folder))
        outcome = json.loads((Path(folder) / "outcome.json").read_text("utf-8"))
        taken = list(samples.read(Path(folder) / "samples.csv.gz"))
    found = summary(outcome, taken)
    return {**found, "url": args.url, "verdicts": as_json(found)}, taken


def folder_of(args: Namespace, found: dict[str, Any]) -> Path:
    """Return where a run is kept: whole shapes with the code, for the README; others with the data."""
    if args.out is not None:
        return args.out
    return record.RESULTS if found["whole"] and found["shape"] != "short" else FOLDER


def _generate(plan: Plan, argv: list[str], folder: Path) -> None:
    command = [sys.executable, "-m", "loadtest.generator", "--into", str(folder), *argv]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
    with _passing_on(process), bar(plan) as show:
        for line in process.stdout or ():
            show(json.loads(line))
    if process.wait() or not (folder / "outcome.json").exists():
        raise GeneratorError(f"The generator ended with {process.returncode}.")


@contextmanager
def _passing_on(process: subprocess.Popen[str]) -> Generator[None]:
    """Let Ctrl-C and SIGTERM end the generator in order, and then this process with what was measured."""

    def end(_: int, __: object) -> None:
        with suppress(ProcessLookupError):
            process.terminate()

    before = {each: signal.signal(each, end) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except BaseException:
        process.kill()
        raise
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
