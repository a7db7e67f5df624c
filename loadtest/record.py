"""What a measurement found is kept with the machine, the version and the command it was found with."""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image, features

RESULTS = Path(__file__).parent / "results"


def keep(report: str, raw: dict[str, Any], *, of: str = "", folder: Path = RESULTS) -> Path:
    """Write the report for people and the raw figures for programs; return their path without its ending.

    `of` tells kinds of measurement apart.
    """
    about = machine()
    stamp = f"{datetime.now(UTC):%Y-%m-%d}-{commit()}{of and f'-{of}'}"
    facts = ", ".join(f"{name} {value}" for name, value in about.items() if name != "load_before")
    folder.mkdir(parents=True, exist_ok=True)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    found = {"at": at, "machine": about, "commit": commit(), "command": command(), **raw}
    (folder / f"{stamp}.json").write_text(dumped(found), "utf-8")
    (folder / f"{stamp}.md").write_text(f"# {stamp}\n\n{facts}\n\n`{command()}`\n\n{report}\n", "utf-8")
    say(f"kept in {folder / stamp}.json and .md")
    return folder / stamp


def machine() -> dict[str, Any]:
    """Return what of this machine and its libraries decides on the figures."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "pillow": Image.__version__,
        "libjpeg_turbo": features.version("libjpeg_turbo"),
        "load_before": os.getloadavg()[2],
    }


def commit() -> str:
    """Return the version that is measured; it ends in `-dirty` when it is none."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 - whichever git there is
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def command() -> str:
    """Return the command that this process is."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    name = module.name.removesuffix(".__main__") if module else sys.argv[0]
    return shlex.join(["python", *(["-m"] if module else []), name, *sys.argv[1:]])


def dumped(found: object) -> str:
    """Return it as JSON, in which nothing measured is null."""
    return json.dumps(_finite(found), indent=1) + "\n"


def _finite(found: object) -> object:
    if isinstance(found, float):
        return found if math.isfinite(found) else None
    if isinstance(found, dict):
        return {name: _finite(value) for name, value in found.items()}
    return [_finite(value) for value in found] if isinstance(found, list | tuple) else found


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
