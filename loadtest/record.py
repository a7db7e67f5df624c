"""What a measurement found is kept with the machine and the version it was found on."""

import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image, features

_RESULTS = Path(__file__).parent / "results"


def keep(report: str, raw: dict[str, Any], *, of: str = "") -> None:
    """Write the report for people and the raw figures for programs; `of` tells kinds of measurement apart."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 - whichever git there is
        capture_output=True,
        text=True,
        check=False,
    )
    machine = {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "python": platform.python_version(),
        "pillow": Image.__version__,
        "libjpeg_turbo": features.version("libjpeg_turbo"),
        "load_before": os.getloadavg()[2],
    }
    stamp = f"{datetime.now(UTC):%Y-%m-%d}-{described.stdout.strip() or 'unknown'}{of and f'-{of}'}"
    facts = ", ".join(f"{name} {value}" for name, value in machine.items() if name != "load_before")
    (_RESULTS / f"{stamp}.json").write_text(json.dumps({"machine": machine, **raw}, indent=1) + "\n", "utf-8")
    (_RESULTS / f"{stamp}.md").write_text(f"# {stamp}\n\n{facts}\n\n{report}\n", "utf-8")
    say(f"kept in {_RESULTS / stamp}.json and .md")


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
