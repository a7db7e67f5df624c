"""`python -m devstack up`."""

import argparse
import signal
from pathlib import Path
from types import FrameType

from devstack.halt import Halt


def main() -> int:
    """Run the command and return its exit code."""
    # Before the imports that take time: from the first moment Ctrl-C means an end in order.
    halt = Halt()

    def stop(_: int, __: FrameType | None) -> None:
        halt.set()

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, stop)
    from devstack.up import up  # noqa: PLC0415 - after the signals

    parser = argparse.ArgumentParser(prog="devstack", description="Ebbmark on real servers, on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start everything and keep it running until Ctrl-C")
    start.add_argument("--data", type=Path, default=Path(".data"), help="folder for everything that is kept")
    start.add_argument("--port", type=int, default=8000, help="port of the pages and the API")
    start.add_argument("--workers", type=int, default=1, help="worker processes")
    args = parser.parse_args()
    config = Path("observability/prometheus/prometheus.yml")
    return up(
        args.data,
        port=args.port,
        workers=args.workers,
        config=config if config.exists() else None,
        halt=halt,
    )


if __name__ == "__main__":
    raise SystemExit(main())
