"""The `ebbmark` command: every process of the system, and the clients that speak to it.

Exit codes: 0 all well, 1 it ended by itself, some photos failed or an audit found something, 2 wrong
usage or settings, 3 a dependency or the server is unavailable, 4 it stood still, 130 sending was interrupted.
"""

import argparse
import asyncio
import importlib
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType, ModuleType
from typing import NoReturn

import uvloop

from ebbmark.errors import Unavailable
from ebbmark.settings import Settings, SettingsError
from observability import logs

AGENTS = ("planner", "renderer", "projector", "notifier")
_CLIENTS = {
    "send": "ebbmark.send",
    "dlq": "ebbmark.dlq",
    "monitor": "ebbmark.monitor",
    "recipe": "ebbmark.show",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. Services are imported only when they run."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.command in _CLIENTS:
        return importlib.import_module(_CLIENTS[args.command]).run(args)
    try:
        settings = Settings.from_env()
        return _served(settings, args)
    except SettingsError as exc:  # or a file that they name is wrong
        sys.stderr.write(f"ebbmark: the settings are wrong:\n{exc}\n")
        return 2


def _served(settings: Settings, args: argparse.Namespace) -> int:
    name = settings.worker.instance or args.command
    logs.configure(name, level=settings.log.level, form=settings.log.format)
    log = logs.get("ebbmark.cli")
    try:
        return _COMMANDS[args.command](settings, args) or 0
    except SettingsError:
        raise
    except KeyboardInterrupt:
        return 0
    except Unavailable as exc:
        log.error("unavailable", code=exc.code, detail=exc.detail)  # noqa: TRY400 - the sentence says it all
        return 3
    except Exception:
        log.exception("ended by itself")
        return 1


def run() -> NoReturn:
    """Run the command and end the process, even when a thread of a client would not let it.

    A Kafka client in the middle of a question to a frozen broker waits for as long as the broker is.
    """
    code = main()
    waited_for = [each for each in threading.enumerate() if not each.daemon]
    if waited_for == [threading.main_thread()]:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ebbmark", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("ingest", help="the web pages and the HTTP interface")
    worker = commands.add_parser("worker", help="the stream processors; run any number on any hosts")
    worker.add_argument(
        "--agents",
        type=_agents,
        default=AGENTS,
        metavar="NAME,…",
        help=f"which to run: {', '.join(AGENTS)} (default: all)",
    )
    commands.add_parser("janitor", help="expiry, second chances; run one or more, one leads")
    audit = commands.add_parser("audit", help="compare the bucket with the ledger now")
    audit.add_argument("--json", action="store_true", help="for programs")
    commands.add_parser("migrate", help="bring the database to this version's schema")
    commands.add_parser("topics", help="create the topics that are missing")
    commands.add_parser("prepare", help="migrate, topics, and the bucket with its lifecycle")
    send = commands.add_parser("send", help="send photos, wait, and download the results")
    dlq = commands.add_parser("dlq", help="list, show, redrive and resolve dead letters")
    monitor = commands.add_parser("monitor", help="how the system is now, from the metrics of its processes")
    recipe = commands.add_parser("recipe", help="spell out a recipe, or say what is wrong with it")
    clients = {"send": send, "dlq": dlq, "monitor": monitor, "recipe": recipe}
    for name, client in clients.items():
        if name in sys.argv[1:2]:  # flags that come from the operations take an import of them all
            importlib.import_module(_CLIENTS[name]).add_arguments(client)
    return parser


def _agents(text: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in chosen if name not in AGENTS]
    if unknown or not chosen:
        message = f"{', '.join(unknown) or 'nothing'} is not one of {', '.join(AGENTS)}"
        raise argparse.ArgumentTypeError(message)
    return chosen


def _service(module: str) -> ModuleType:
    """Import a service. Who is told to stop meanwhile has nothing in hand, and is gone at once."""
    signal.signal(signal.SIGTERM, _leave)
    return importlib.import_module(module)


def _leave(_: int, __: FrameType | None) -> NoReturn:
    sys.exit(0)


def _ingest(settings: Settings, _: argparse.Namespace) -> None:
    _service("ingest.app").serve(settings)


def _worker(settings: Settings, args: argparse.Namespace) -> None:
    app = _service("processors.app")
    _until_signalled(lambda stop: app.run(settings, args.agents, stop))


def _janitor(settings: Settings, _: argparse.Namespace) -> None:
    app = _service("janitor.app")
    _until_signalled(lambda stop: app.run(settings, stop))


def _audit(settings: Settings, args: argparse.Namespace) -> int:
    return importlib.import_module("janitor.report").run(settings, as_json=args.json)


def _migrate(settings: Settings, _: argparse.Namespace) -> None:
    applied = importlib.import_module("ebbmark.ledger.postgres").migrate(settings.ledger)
    logs.get("ebbmark.cli").info("migrated", applied=applied)


def _topics(settings: Settings, _: argparse.Namespace) -> None:
    created = importlib.import_module("ebbmark.eventlog").create_topics(settings.kafka)
    logs.get("ebbmark.cli").info("topics are there", created=created)


def _prepare(settings: Settings, args: argparse.Namespace) -> None:
    _migrate(settings, args)
    _topics(settings, args)
    store = importlib.import_module("ebbmark.store").S3Store(settings.store)
    asyncio.run(store.prepare())


_COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], int | None]] = {
    "ingest": _ingest,
    "worker": _worker,
    "janitor": _janitor,
    "audit": _audit,
    "migrate": _migrate,
    "topics": _topics,
    "prepare": _prepare,
}


def _until_signalled(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    async def until_signalled() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, stop.set)
        await run(stop)

    # The policy reaches the threads too in which the Kafka client runs loops of its own.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # pyright: ignore[reportDeprecated] - until 3.16
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # asyncio.run would wait for every task of Faust's to obey its cancellation; some never do.
    loop.run_until_complete(until_signalled())


if __name__ == "__main__":
    run()
