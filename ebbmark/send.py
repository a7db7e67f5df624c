"""`ebbmark send`: photos in, results out, over the HTTP interface alone."""

import argparse
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx

from ebbmark.imaging.operation import operations_schema

ALL_DONE, SOME_FAILED, WRONG, UNAVAILABLE = 0, 1, 2, 3

_ORDER = ("resize", "grayscale", "blur", "watermark")
_LAST = "convert"
_EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}
_AT_ONCE = 4
_TRIES = 12
_CONNECTS = 3
_REPEATED = {408, 429, 502, 503, 504}
_POLL = 0.5


class SendError(Exception):
    """What the person must read, with the exit code."""

    def __init__(self, code: int, sentence: str) -> None:
        """Keep both."""
        super().__init__(sentence)
        self.code = code


class RefusedError(SendError):
    """The server will not take this, however often it is sent."""

    def __init__(self, sentence: str) -> None:
        """It is wrong input to the command too."""
        super().__init__(WRONG, sentence)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags, one for each parameter of each installed operation."""
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO", help="files, or folders of them")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("marked"), help="where results go (%(default)s)"
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where Ebbmark is (%(default)s)")
    parser.add_argument(
        "--operations", metavar="NAME,…", help="which, in this order; else what the flags say"
    )
    parser.add_argument("--recipe", metavar="JSON", help="the whole recipe, instead of flags")
    parser.add_argument("--logo", type=Path, metavar="FILE", help="image for the watermark")
    parser.add_argument("--json", action="store_true", help="print one JSON summary on standard output")
    parser.add_argument("--no-wait", action="store_true", help="send, print where the job is, and leave")
    for operation in operations_schema():
        group = parser.add_argument_group(str(operation["name"]), str(operation["summary"]))
        properties = _properties(operation)
        if not properties:
            group.add_argument(f"--{operation['name']}", action="store_true", help="do it")
        for name, schema in properties.items():
            if name != "logo":
                group.add_argument(
                    f"--{name}",
                    metavar=name.upper(),
                    choices=schema.get("enum"),
                    help=schema.get("description"),
                )


def run(args: argparse.Namespace) -> int:
    """Send, wait, download; return the exit code."""
    say = _speaker()
    try:
        photos = find_photos(args.photos)
        fields = form_fields(vars(args))
        with httpx.Client(base_url=args.url, timeout=60, headers={"accept": "application/json"}) as client:
            summary = _send(client, photos, fields, args, say)
    except SendError as exc:
        sys.stderr.write(f"ebbmark send: {exc}\n")
        return exc.code
    except KeyboardInterrupt:
        return 130
    if args.json:
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n")
    return SOME_FAILED if summary["failed"] else ALL_DONE


def find_photos(paths: Sequence[Path]) -> list[Path]:
    """Return the files named, and the photos in the folders named, in order.

    Raises:
        SendError: one is not there, or nothing is left.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(each for each in path.rglob("*") if each.suffix.lower() in _EXTENSIONS)
        elif path.is_file():
            found.append(path)
        else:
            raise SendError(WRONG, f"there is no file {path}")
    if not found:
        raise SendError(WRONG, "there are no photos in what was named")
    return found


def form_fields(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the form's fields for the flags given: an operation is wanted when one of its flags is.

    Raises:
        SendError: nothing is wanted.
    """
    if given.get("recipe"):
        return {"recipe": given["recipe"]}
    fields: dict[str, str] = {}
    wanted: list[str] = []
    for operation in operations_schema():
        name = str(operation["name"])
        properties = _properties(operation)
        own = {key: str(given[key]) for key in properties if key != "logo" and given.get(key) is not None}
        if own or (not properties and given.get(name)) or (name == "watermark" and given.get("logo")):
            wanted.append(name)
        fields |= own
    if given.get("operations"):
        return {"operations": given["operations"], **fields}
    if not wanted:
        raise SendError(WRONG, "say what to do, such as --text '© Ann' or --width 1600")
    rank = {name: place for place, name in enumerate(_ORDER)}
    wanted.sort(key=lambda name: (name == _LAST, rank.get(name, len(rank))))
    return {"operations": ",".join(wanted), **fields}


def save_as(folder: Path, name: str) -> Path:
    """Return a path in the folder that nothing has yet."""
    safe = Path(name).name or "photo"
    path, count = folder / safe, 1
    while path.exists():
        count += 1
        path = folder / f"{Path(safe).stem} ({count}){Path(safe).suffix}"
    return path


def _send(
    client: httpx.Client,
    photos: list[Path],
    fields: Mapping[str, str],
    args: argparse.Namespace,
    say: Callable[[str], None],
) -> dict[str, Any]:
    began = time.monotonic()
    job = _upload(client, photos, fields, args.logo, say)
    where = str(client.base_url.join(job))
    if args.no_wait:
        say("")
        if not args.json:
            sys.stdout.write(where + "\n")
        return {"job": where, "total": len(photos), "done": 0, "failed": 0, "files": []}
    status, files = _collect(client, job, args.out, say)
    failures = [
        {"name": photos[each["n"]].name, "code": each["code"], "detail": each["detail"]}
        for each in status["photos"]
        if each["state"] == "failed"
    ]
    for each in failures:
        sys.stderr.write(f"{each['name']}: {each['detail']} ({each['code']})\n")
    return {
        "job": where,
        "total": status["total"],
        "done": status["done"],
        "failed": status["failed"],
        "seconds": round(time.monotonic() - began, 3),
        "files": files,
        "failures": failures,
    }


def _upload(
    client: httpx.Client,
    photos: list[Path],
    fields: Mapping[str, str],
    logo: Path | None,
    say: Callable[[str], None],
) -> str:
    """Open a job, fill and seal it; return its path. What is refused is told with the results."""
    parts: list[tuple[str, Any]] = [(name, (None, value.encode())) for name, value in fields.items()]
    if logo is not None:
        parts.append(("logo", (logo.name, _read(logo))))
    opened = _insist(client, "POST", "/jobs", files=parts, headers={"idempotency-key": uuid.uuid4().hex})
    job = opened.json()["status_url"]

    def put(n: int) -> None:
        headers = {"x-filename": quote(photos[n].name), "content-type": "application/octet-stream"}
        with suppress(RefusedError):
            _insist(client, "PUT", f"{job}/photos/{n}", content=_read(photos[n]), headers=headers)
        say(f"sent {n + 1} of {len(photos)}")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(put, range(len(photos))))
    _insist(client, "POST", f"{job}/seal", json={"total": len(photos)})
    return job


def _collect(
    client: httpx.Client, job: str, folder: Path, say: Callable[[str], None]
) -> tuple[dict[str, Any], list[str]]:
    """Download each result as soon as it is done; return the last status and the files in order."""
    folder.mkdir(parents=True, exist_ok=True)
    saved: dict[int, str] = {}
    while True:
        status = _insist(client, "GET", job).json()
        for photo in status["photos"]:
            if photo["state"] == "done" and photo["n"] not in saved:
                saved[photo["n"]] = str(_download(client, photo["url"], folder))
        failed = f", {status['failed']} failed" if status["failed"] else ""
        say(f"{status['done']} of {status['total']} done{failed}")
        if status["state"] == "complete":
            say("")
            return status, [saved[n] for n in sorted(saved)]
        time.sleep(_POLL)


def _download(client: httpx.Client, url: str, folder: Path) -> Path:
    answer = _insist(client, "GET", url)
    named = re.search(r"filename\*=UTF-8''(\S+)", answer.headers.get("content-disposition", ""))
    path = save_as(folder, unquote(named[1]) if named else "photo")
    path.write_bytes(answer.content)
    return path


def _insist(client: httpx.Client, method: str, url: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
    """Send until it is answered; wait as long as the server asks.

    Raises:
        RefusedError: it is answered with a problem that no repeat will change.
        SendError: nobody answers, or never in time.
    """
    trouble = ""
    for tries in range(1, _TRIES + 1):
        pause = min(10.0, 0.25 * 2**tries)
        try:
            answer = client.request(method, url, **request)
        except httpx.UnsupportedProtocol as exc:
            raise SendError(WRONG, f"this is not an address: {client.base_url}") from exc
        except httpx.TransportError as exc:
            trouble = f"nobody answers at {client.base_url}"
            if isinstance(exc, httpx.ConnectError) and tries >= _CONNECTS:
                break
        else:
            if answer.is_success:
                return answer
            trouble = _sentence(answer)
            if answer.status_code not in _REPEATED:
                raise RefusedError(trouble)
            pause = max(pause, float(answer.headers.get("retry-after", 0)))
        time.sleep(pause)
    raise SendError(UNAVAILABLE, trouble)


def _sentence(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
        return f"{problem['detail']} ({problem['code']})"
    except (ValueError, KeyError, TypeError):
        return f"the server answered {answer.status_code}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise SendError(WRONG, f"{path} cannot be read: {exc.strerror}") from exc


def _properties(operation: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return operation["parameters"]["properties"]


def _speaker() -> Callable[[str], None]:
    """Progress on standard error: one line that changes on a terminal, plain lines elsewhere."""
    one_line = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ
    last = ""

    def say(text: str) -> None:
        nonlocal last
        if one_line:
            sys.stderr.write(f"\r\033[K{text}" if text else "\n")
            sys.stderr.flush()
        elif text and text != last:
            sys.stderr.write(text + "\n")
        last = text

    return say
