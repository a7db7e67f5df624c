"""`ebbmark send`: photos in, results out, over the HTTP interface alone."""

import argparse
import json
import os
import re
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast
from urllib.parse import quote, unquote

import httpx
import msgspec

from ebbmark.imaging.operation import operations_schema

_T = TypeVar("_T")

ALL_DONE, SOME_FAILED, WRONG, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 130

_FIRST = ("resize", "grayscale", "blur", "watermark")
_LAST = "convert"
_EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}
_OWN_FLAGS = {"help", "out", "url", "operations", "recipe", "logo", "json", "wait", "no-wait"}
_LOGO = "watermark.logo"  # said by the file alone

_AT_ONCE = 4
_TRIES = 12
_FIRST_TRIES = 3
_LONGEST_PAUSE = 10.0
_REPEATED = {408, 429, 502, 503, 504}
_POLL = 0.5
_PATIENCE = 60.0
_SILENCE = 20.0  # of the event stream, which pings every 15 s


class SendError(Exception):
    """What the person must read, with the exit code."""

    def __init__(self, exit_code: int, sentence: str) -> None:
        """Keep both."""
        super().__init__(sentence)
        self.exit_code = exit_code


class RefusedError(SendError):
    """The server will not take this, however often it is sent."""

    def __init__(self, code: str, detail: str) -> None:
        """`code` and `detail` are the server's."""
        super().__init__(WRONG, f"{detail} ({code})")
        self.code = code
        self.detail = detail


class Flag(NamedTuple):
    """One parameter of an operation, or an operation without any (`parameter` is empty)."""

    operation: str
    parameter: str
    schema: Mapping[str, Any]
    option: str

    @property
    def field(self) -> str:
        """Its field in the form, spelt so that it can mean nothing else."""
        return f"{self.operation}.{self.parameter}" if self.parameter else self.operation


class Photo(msgspec.Struct, frozen=True):
    """A photo as the server tells of it."""

    n: int
    state: Literal["queued", "rendering", "retrying", "done", "failed", "cancelled"]
    code: str | None
    detail: str | None
    url: str | None


class Status(msgspec.Struct, frozen=True):
    """The job as the server tells of it."""

    state: str
    done: int
    failed: int
    total: int | None
    photos: list[Photo]


class _Opened(msgspec.Struct, frozen=True):
    status_url: str
    events_url: str


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
    summaries = {str(each["name"]): str(each["summary"]) for each in operations_schema()}
    groups = {name: parser.add_argument_group(name, _literal(text)) for name, text in summaries.items()}
    for flag in flags():
        says = _literal(str(flag.schema.get("description", "Do it.")))
        if not flag.parameter:
            kind: dict[str, Any] = {"action": "store_true", "default": None}
        elif flag.schema.get("type") == "boolean":
            kind = {"action": argparse.BooleanOptionalAction}
        elif "enum" in flag.schema:
            kind = {"choices": [str(choice) for choice in flag.schema["enum"]]}
        else:
            kind = {"metavar": flag.parameter.upper()}
        groups[flag.operation].add_argument(flag.option, dest=flag.field, help=says, **kind)


def flags(operations: Iterable[Mapping[str, object]] | None = None) -> list[Flag]:
    """Return the flags of operations, by default of all: `--text`, or `--watermark.text` where unclear."""
    found: list[tuple[str, str, Mapping[str, Any]]] = []
    for operation in operations_schema() if operations is None else operations:
        name = str(operation["name"])
        properties = cast("dict[str, Any]", operation["parameters"])["properties"]
        found += [(name, parameter, schema) for parameter, schema in properties.items()] or [(name, "", {})]
    spelt = Counter(parameter or name for name, parameter, _ in found)
    return [
        Flag(name, parameter, schema, "--" + option.replace("_", "-"))
        for name, parameter, schema in found
        if f"{name}.{parameter}" != _LOGO
        for word in (parameter or name,)
        for option in (word if spelt[word] == 1 and word not in _OWN_FLAGS else f"{name}.{word}",)
    ]


def run(args: argparse.Namespace) -> int:
    """Send, wait, download; return the exit code."""
    try:
        photos = find_photos(args.photos)
        fields = form_fields(vars(args))
        logo = None if args.logo is None else (args.logo.name, read(args.logo))
        if not args.no_wait:
            with _files(f"{args.out} cannot be a folder"):
                args.out.mkdir(parents=True, exist_ok=True)
        with closing(Server(args.url)) as server:
            summary = Errand(server, photos, None if args.no_wait else args.out).run(fields, logo)
    except SendError as exc:
        sys.stderr.write(f"ebbmark send: {exc}\n")
        return exc.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    for each in summary["failures"]:
        sys.stderr.write(f"{each['name']}: {each['detail']} ({each['code']})\n")
    if args.json:
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n")
    elif args.no_wait:
        sys.stdout.write(f"{summary['job']}\n")
    return SOME_FAILED if summary["failed"] else ALL_DONE


def find_photos(paths: Sequence[Path]) -> list[Path]:
    """Return the files named, and the photos in the folders named, in order.

    Raises:
        SendError: one is not there or cannot be read, or nothing is left.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in _EXTENSIONS)
            found += [each for each in inside if each.is_file()]
        elif path.is_file():
            found.append(path)
        else:
            raise SendError(WRONG, f"there is no file {path}")
    if not found:
        raise SendError(WRONG, "there are no photos in what was named")
    for path in found:
        if not os.access(path, os.R_OK):
            raise SendError(WRONG, f"{path} cannot be read")
    return found


def form_fields(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the form's fields for the flags given: an operation is wanted when one of its flags is.

    Raises:
        SendError: nothing is wanted, or a recipe and flags at once.
    """
    said = [flag for flag in flags() if given.get(flag.field) is not None]
    fields = {flag.field: str(given[flag.field]) for flag in said if flag.parameter}
    if given.get("recipe") is not None:
        if said or given.get("operations") is not None:
            raise SendError(WRONG, "say what to do by --recipe or by the other flags, not by both")
        return {"recipe": given["recipe"]}
    if given.get("operations") is not None:
        return {"operations": given["operations"], **fields}
    wanted = list(dict.fromkeys(flag.operation for flag in said))
    if given.get("logo") and "watermark" not in wanted:
        wanted.append("watermark")
    if not wanted:
        raise SendError(WRONG, "say what to do, such as --text '© Ann' or --width 1600")
    rank = {name: place for place, name in enumerate(_FIRST)}
    wanted.sort(key=lambda name: (name == _LAST, rank.get(name, len(rank))))
    return {"operations": ",".join(wanted), **fields}


class Server:
    """One Ebbmark behind its HTTP interface; once it has answered, it may be busy or away for a while."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet.

        Raises:
            SendError: this is no address.
        """
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL as exc:
            raise SendError(WRONG, f"this is not an address: {url}") from exc
        if address.scheme not in {"http", "https"} or not address.host:
            raise SendError(WRONG, f"this is not an address: {url}")
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=address, timeout=_PATIENCE, headers={"accept": "application/json"})
        self._answered = False
        self._leaving = threading.Event()

    def close(self) -> None:
        """Part from the server."""
        self._http.close()

    def leave(self) -> None:
        """Have every thread that waits to try again give up."""
        self._leaving.set()

    def insist(self, method: str, url: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        """Send until it is answered; wait as long as the server asks.

        Raises:
            RefusedError: it is answered with a problem that no repeat will change.
            SendError: nobody answers, or never in time.
        """
        trouble = ""
        for tries in range(1, _TRIES + 1):
            pause = min(_LONGEST_PAUSE, 0.25 * 2**tries)
            try:
                answer = self._http.request(method, url, **request)
            except httpx.TransportError as exc:
                trouble = f"nobody answers at {self.url}"
                if isinstance(exc, httpx.ConnectError) and not self._answered and tries >= _FIRST_TRIES:
                    break
            else:
                self._answered = True
                if answer.is_success:
                    return answer
                refusal = _refusal(answer)
                if answer.status_code not in _REPEATED:
                    raise refusal
                trouble = str(refusal)
                asked = answer.headers.get("retry-after", "")
                pause = max(pause, float(asked) if asked.isdecimal() else 0.0)
            if self._leaving.wait(pause):
                break
        raise SendError(UNAVAILABLE, trouble)

    def status(self, job: str) -> Status:
        """Return the job as it is now."""
        return _decoded(self.insist("GET", job).content, Status)

    def follow(self, job: str, events: str) -> Generator[Status]:
        """Yield the job as it changes, for ever: from its event stream, or by asking while there is none."""
        seen = "0"
        while True:
            headers = {"accept": "text/event-stream", "last-event-id": seen}
            with (
                suppress(httpx.TransportError),
                self._http.stream("GET", events, headers=headers, timeout=_SILENCE) as stream,
            ):
                if stream.is_success:
                    for version, snapshot in _snapshots(stream.iter_lines()):
                        seen = version
                        yield _decoded(snapshot, Status)
            yield self.status(job)
            time.sleep(_POLL)


def read(path: Path) -> bytes:
    """Return what the file holds."""
    with _files(f"{path} cannot be read"):
        return path.read_bytes()


def save(folder: Path, name: str, content: bytes) -> Path:
    """Write a file of this name into the folder, or of one with a number; never over another."""
    safe = Path(name.replace("\0", "")).name
    safe = "photo" if safe in {"", ".."} else safe
    path, count = folder / safe, 1
    with _files(f"{safe} cannot be written to {folder}"):
        while True:
            with suppress(FileExistsError):
                with path.open("xb") as file:
                    file.write(content)
                return path
            count += 1
            path = folder / f"{Path(safe).stem} ({count}){Path(safe).suffix}"


@contextmanager
def _files(trouble: str) -> Generator[None]:
    try:
        yield
    except OSError as exc:
        raise SendError(WRONG, f"{trouble}: {exc.strerror}") from exc


class Errand:
    """One job on its way: photos go out and results come in, several at once, until all has ended."""

    def __init__(self, server: Server, photos: Sequence[Path], out: Path | None) -> None:
        """Results are saved in `out`; without it nobody waits for them."""
        self._server, self._photos, self._out = server, photos, out
        self._say = _speaker()
        self._senders, self._savers = ThreadPoolExecutor(_AT_ONCE), ThreadPoolExecutor(_AT_ONCE)
        self._refused: dict[int, RefusedError] = {}
        self._saved: dict[int, Future[Path]] = {}

    def run(self, fields: Mapping[str, str], logo: tuple[str, bytes] | None) -> dict[str, Any]:
        """Open a job, fill it, seal it, fetch what comes of it; return the summary."""
        began = time.monotonic()
        parts: list[tuple[str, Any]] = [(name, (None, value.encode())) for name, value in fields.items()]
        parts += [("logo", logo)] if logo else []
        headers = {"idempotency-key": uuid.uuid4().hex}
        answer = self._server.insist("POST", "/jobs", files=parts, headers=headers)
        opened = _decoded(answer.content, _Opened)
        try:
            status = self._fill(opened.status_url)
            if self._out:
                status = self._follow(opened)
            files = [str(self._saved[n].result()) for n in sorted(self._saved)]
        finally:
            self._server.leave()
            self._senders.shutdown(cancel_futures=True)
            self._savers.shutdown(cancel_futures=True)
            self._say("")
        failures = self._failures(status)
        return {
            "job": f"{self._server.url}{opened.status_url}",
            "total": len(self._photos),
            "done": status.done,
            "failed": len(failures),
            "seconds": round(time.monotonic() - began, 3),
            "files": files,
            "failures": failures,
        }

    def _fill(self, job: str) -> Status:
        """Send the photos and seal the job with those that the server entered, good or bad."""
        count = len(self._photos)
        waiting = {self._senders.submit(self._put, job, n) for n in range(count)}
        while True:
            sent, waiting = wait(waiting, timeout=_POLL, return_when=FIRST_EXCEPTION)
            for each in sent:
                each.result()
            status = self._server.status(job)
            self._fetch(status)
            self._say(f"sent {count - len(waiting)} of {count}, {status.done} done")
            if not waiting:
                break
        if not status.photos:
            raise self._refused[min(self._refused)]
        self._server.insist("POST", f"{job}/seal", json={"total": len(status.photos)})
        return status

    def _put(self, job: str, n: int) -> None:
        path = self._photos[n]
        headers = {"x-filename": quote(path.name), "content-type": "application/octet-stream"}
        try:
            self._server.insist("PUT", f"{job}/photos/{n}", content=read(path), headers=headers)
        except RefusedError as exc:
            self._refused[n] = exc

    def _follow(self, opened: _Opened) -> Status:
        for status in self._server.follow(opened.status_url, opened.events_url):
            self._fetch(status)
            failed = f", {status.failed} failed" if status.failed else ""
            self._say(f"{status.done} of {status.total} done{failed}")
            if status.state == "complete":
                return status
        raise AssertionError  # it never ends by itself

    def _fetch(self, status: Status) -> None:
        for photo in status.photos:
            if self._out and photo.state == "done" and photo.url and photo.n not in self._saved:
                self._saved[photo.n] = self._savers.submit(self._download, photo.url, self._out)

    def _download(self, url: str, folder: Path) -> Path:
        answer = self._server.insist("GET", url)
        named = re.search(r"filename\*=UTF-8''([^;\s]+)", answer.headers.get("content-disposition", ""))
        return save(folder, unquote(named[1]) if named else "photo", answer.content)

    def _failures(self, status: Status) -> list[dict[str, str | None]]:
        """Return what failed, and what the server did not even enter, in the order of the photos."""
        entered = {photo.n for photo in status.photos}
        reasons = {n: (each.code, each.detail) for n, each in self._refused.items() if n not in entered}
        reasons |= {each.n: (each.code, each.detail) for each in status.photos if each.state == "failed"}
        return [
            {"name": self._photos[n].name, "code": code, "detail": detail}
            for n, (code, detail) in sorted(reasons.items())
        ]


def _snapshots(lines: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield id and data of each snapshot in an event stream."""
    event: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            event[name] = value.removeprefix(" ")
            continue
        if event.get("event") == "snapshot":
            yield event["id"], event["data"].encode()
        event = {}


def _refusal(answer: httpx.Response) -> RefusedError:
    with suppress(msgspec.MsgspecError, KeyError):
        problem = msgspec.json.decode(answer.content, type=dict[str, Any])
        return RefusedError(str(problem["code"]), str(problem["detail"]))
    return RefusedError(f"http-{answer.status_code}", f"The server answered {answer.status_code}.")


def _decoded(content: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as exc:
        raise SendError(UNAVAILABLE, "whoever answers there is not Ebbmark") from exc


def _literal(text: str) -> str:
    return text.replace("%", "%%")  # argparse formats what it prints


def _speaker() -> Callable[[str], None]:
    """Progress on standard error: one line that changes on a terminal, plain lines elsewhere."""
    one_line = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ
    last = ""

    def say(text: str) -> None:
        nonlocal last
        if one_line and (text or last):
            sys.stderr.write(f"\r\033[K{text}" if text else "\n")
            sys.stderr.flush()
        elif text and text != last:
            sys.stderr.write(text + "\n")
        last = text

    return say
