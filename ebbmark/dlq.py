"""`ebbmark dlq`: dead letters on a terminal, over the HTTP interface alone.

Exit codes: 0 all well, 1 some letters were refused, 2 wrong usage or token, 3 the server is unavailable.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from ebbmark.settings import Settings, SettingsError

_ALL_DONE, _SOME_REFUSED, _WRONG, _UNAVAILABLE = 0, 1, 2, 3
_COLUMNS = ("id", "reason", "state", "age", "topic", "job", "n", "attempts", "redrives")
_TIMES = httpx.Timeout(60, connect=5)

Json = dict[str, Any]


class DlqError(Exception):
    """What the operator must read, with the exit code."""

    def __init__(self, exit_code: int, sentence: str) -> None:
        """Keep both."""
        super().__init__(sentence)
        self.exit_code = exit_code


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their flags."""
    every = argparse.ArgumentParser(add_help=False)
    every.add_argument("--url", default="http://127.0.0.1:8000", help="where Ebbmark is (%(default)s)")
    every.add_argument(
        "--token",
        help="the operator token; EBBMARK_OPERATOR_TOKEN or …_FILE is better: no process list shows it",
    )
    every.add_argument("--json", action="store_true", help="print JSON")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, about: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=about, description=about, parents=[every])

    action("stats", "how many there are; needs no token")
    listing = action("list", "the last that were entered")
    listing.add_argument("--reason")
    listing.add_argument("--job")
    listing.add_argument("--state", choices=["open", "redriven", "resolved"])
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="most letters (%(default)s)")
    action("show", "one letter, its message escaped").add_argument("id")
    redrive = action("redrive", "send letters round again")
    redrive.add_argument("ids", nargs="*", metavar="ID")
    redrive.add_argument("--reason", help="all open ones of this reason")
    redrive.add_argument("--job", help="all open ones of this job")
    redrive.add_argument("--all", action="store_true", default=None, help="all open ones")
    redrive.add_argument("--dry-run", action="store_true", help="do nothing, tell what would come of it")
    redrive.add_argument(
        "--rate", type=float, default=10.0, metavar="N", help="letters a second (%(default)s)"
    )
    redrive.add_argument(
        "--force", action="store_true", help="even what was redriven or resolved before, however often"
    )
    action("resolve", "say that letters need no more").add_argument("ids", nargs="+", metavar="ID")


def run(args: argparse.Namespace) -> int:
    """Do it and return the exit code."""
    try:
        with httpx.Client(base_url=_address(args.url), timeout=_TIMES, headers=_headers(args)) as http:
            return _ACTIONS[args.action](http, args)
    except DlqError as exc:
        _tell(f"ebbmark dlq: {exc}")
        return exc.exit_code


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise DlqError(_WRONG, f"this is not an address: {url}") from exc
    if address.scheme not in {"http", "https"} or not address.host:
        raise DlqError(_WRONG, f"this is not an address: {url}")
    return address


def _headers(args: argparse.Namespace) -> dict[str, str]:
    token: str | None = args.token
    if token is None and args.action != "stats":
        own = {name: value for name, value in os.environ.items() if name.startswith("EBBMARK_OPERATOR_TOKEN")}
        try:
            token = Settings.from_env(own).operator.token
        except SettingsError as exc:
            raise DlqError(_WRONG, str(exc)) from exc
        if not token:
            raise DlqError(_WRONG, "no token: set EBBMARK_OPERATOR_TOKEN, or name it with --token")
    if token is not None and not (token.isascii() and token.isprintable()):
        raise DlqError(_WRONG, "a token is printable ASCII")
    return {"accept": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})


def _ask(http: httpx.Client, method: str, path: str, **request: Any) -> Json:  # noqa: ANN401 - httpx's
    try:
        answer = http.request(method, path, **request)
        said: Json = answer.json()
    except httpx.TransportError as exc:
        raise DlqError(_UNAVAILABLE, f"nobody answers at {http.base_url}") from exc
    except ValueError as exc:
        raise DlqError(_UNAVAILABLE, f"this is no Ebbmark: {http.base_url}") from exc
    if answer.is_success:
        return said
    code = _UNAVAILABLE if answer.status_code >= 500 or answer.status_code == 429 else _WRONG
    raise DlqError(code, f"{said.get('detail', answer.status_code)} ({said.get('code', '?')})")


def _stats(http: httpx.Client, args: argparse.Namespace) -> int:
    stats = _ask(http, "GET", "/dlq/stats")
    if args.json:
        _print_json(stats)
        return _ALL_DONE
    if stats["counts"]:
        _table(("reason", "state", "letters"), stats["counts"])
    old = f", the oldest for {_age(stats['oldest_open_seconds'])}" if stats["open"] else ""
    _print(f"{stats['open']} open{old}")
    return _ALL_DONE


def _list(http: httpx.Client, args: argparse.Namespace) -> int:
    given = {name: getattr(args, name) for name in ("reason", "job", "state") if getattr(args, name)}
    letters: list[Json] = []
    cursor: int | None = None
    while len(letters) < args.limit:
        rest = {"limit": min(200, args.limit - len(letters))} | ({} if cursor is None else {"cursor": cursor})
        page = _ask(http, "GET", "/dlq", params=given | rest)
        letters += page["letters"]
        cursor = page["cursor"]
        if cursor is None:
            break
    if args.json:
        _print_json({"letters": letters, "cursor": cursor})
    elif letters:
        _table(_COLUMNS, [each | {"age": _age(each["age_seconds"])} for each in letters])
    if cursor is not None:
        _tell("there are more: --limit")
    return _ALL_DONE


def _show(http: httpx.Client, args: argparse.Namespace) -> int:
    seen = _ask(http, "GET", f"/dlq/{_id(args.id)}")
    if args.json:
        _print_json(seen)
    else:
        facts = seen["letter"] | {"age": _age(seen["letter"]["age_seconds"])}
        facts |= {"redrive": seen["detail"] or "possible"}
        for name in facts.keys() - {"age_seconds"}:
            facts[name] = _shown(facts[name])
        width = max(map(len, facts))
        for name, value in facts.items():
            if name != "age_seconds":
                _print(f"{name:<{width}}  {value}")
    return _ALL_DONE


def _redrive(http: httpx.Client, args: argparse.Namespace) -> int:
    chosen = {"ids": [_id(each) for each in args.ids] or None, "reason": args.reason}
    chosen |= {"job": args.job, "all": args.all}
    wish: Json = {name: value for name, value in chosen.items() if value is not None}
    if len(wish) != 1:
        raise DlqError(_WRONG, "say which letters: ids, --reason, --job or --all, one of them")
    if not 0.1 <= args.rate <= 1000:
        raise DlqError(_WRONG, "a rate is 0.1 to 1000 letters a second")
    wish |= {"dry_run": args.dry_run, "rate": args.rate, "force": args.force}
    outcomes: list[Json] = []
    while True:
        answer = _ask(http, "POST", "/dlq/redrive", json=wish)
        outcomes += answer["outcomes"]
        if answer["cursor"] is None:
            break
        wish["cursor"] = answer["cursor"]
        _tell(f"{len(outcomes)} so far …")
    refused = [each for each in outcomes if each["refusal"]]
    redriven = len(outcomes) - len(refused)
    if args.json:
        summary = {"dry_run": args.dry_run, "redriven": redriven, "refused": len(refused)}
        _print_json(summary | {"outcomes": outcomes})
    else:
        if refused:
            _table(("id", "reason", "topic", "job", "n", "refusal"), refused)
        reasons = {each["refusal"]: each["detail"] for each in refused}
        for refusal, letters in Counter(each["refusal"] for each in refused).items():
            _print(f"{letters} × {refusal}: {reasons[refusal]}")
        would = "would be " if args.dry_run else ""
        _print(f"{redriven} {would}redriven, {len(refused)} refused")
    return _SOME_REFUSED if refused else _ALL_DONE


def _resolve(http: httpx.Client, args: argparse.Namespace) -> int:
    resolved = [_ask(http, "POST", f"/dlq/{_id(each)}/resolve") for each in args.ids]
    if args.json:
        _print_json({"resolved": resolved})
    else:
        _print(f"{len(resolved)} resolved")
    return _ALL_DONE


_ACTIONS: Mapping[str, Callable[[httpx.Client, argparse.Namespace], int]] = {
    "stats": _stats,
    "list": _list,
    "show": _show,
    "redrive": _redrive,
    "resolve": _resolve,
}


def _id(text: str) -> str:
    if not (text.isascii() and text.isalnum()):
        raise DlqError(_WRONG, f"this is not the id of a letter: {text}")
    return text


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _shown(value: object) -> str:
    return "–" if value is None else str(value)


def _table(columns: Sequence[str], rows: Sequence[Json]) -> None:
    lines = [[name.upper() for name in columns]]
    lines += [[_shown(row[name]) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        _print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _print(line: str) -> None:
    """Print what the server said as one line that cannot steer the terminal."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    sys.stdout.write("".join(shown) + "\n")


def _print_json(value: Json) -> None:
    sys.stdout.write(json.dumps(value) + "\n")


def _tell(sentence: str) -> None:
    shown = (c if c.isprintable() else " " for c in sentence)
    sys.stderr.write("".join(shown) + "\n")
