"""Faults at random from a seed, under load, and a verdict; 1 when anything was violated."""

import argparse
import json
import random
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from devstack.process import DevstackError, say
from tests.chaos.arena import entered
from tests.chaos.faults import OUTAGES
from tests.chaos.report import write_document
from tests.chaos.run import random_run


def main() -> int:
    """Run, or write a finished run into the manual."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--minutes", type=float, default=10.0, help="at least so long (10)")
    parser.add_argument("--faults", type=int, default=20, help="at least so many (20)")
    parser.add_argument("--rate", type=float, default=14.0, help="photos a second (14)")
    parser.add_argument(
        "--outage",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="in the middle of it somebody is gone for so long (0: nobody)",
    )
    parser.add_argument(
        "--of", choices=[*OUTAGES, "each"], help="who that is, or each after the other (the seed chooses)"
    )
    parser.add_argument(
        "--data", type=Path, default=Path(".data/chaos"), help="where reports go (.data/chaos)"
    )
    parser.add_argument("--document", type=Path, help="write this report into docs/operating.md, run nothing")
    given = parser.parse_args()
    if given.document:
        try:
            write_document(given.document)
        except ValueError as exc:
            parser.error(str(exc))
        return 0
    given.data.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=given.data))
    try:
        with entered(folder, seed=given.seed) as arena:
            report = random_run(
                arena,
                seed=given.seed,
                minutes=given.minutes,
                faults=given.faults,
                rate=given.rate,
                gone=given.outage,
                who=given.of or "",
            )
    except DevstackError as exc:
        say(f"It does not run here: {exc}")
        return 2
    violated = any(verdict["violations"] for verdict in report["verdicts"])
    path = given.data / f"{datetime.now(UTC):%Y-%m-%dT%H-%M}-seed-{given.seed}.json"
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    say(f"\nseed {given.seed}: {'VIOLATED' if violated else 'all holds'}; {path}")
    if violated:
        say(f"its logs and data are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return int(violated)


if __name__ == "__main__":
    sys.exit(main())
