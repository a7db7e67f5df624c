"""`ebbmark send`: what its flags mean, and how it gets along with a server that is busy, away or strange."""

import argparse
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from ebbmark import send
from ebbmark.imaging.operation import operations_schema
from ebbmark.imaging.recipe import recipe_from_form

JOB = "/jobs/abc"


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    send.add_arguments(parser)
    return parser.parse_args(["a.jpg", *words])


def fields(*words: str) -> dict[str, str]:
    return send.form_fields(vars(parsed(*words)))


class FakeEbbmark(ThreadingHTTPServer):
    """Answers as Ebbmark does; every file but an empty one is done as soon as the job is sealed."""

    daemon_threads = True

    def __init__(self, *, stream: bool = True, busy: int = 0, most: int = 500) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stream = stream
        self.busy = busy  # how many requests yet are told to come again
        self.most = most
        self.form = b""
        self.keys: list[str] = []
        self.photos: dict[int, tuple[str, bytes]] = {}
        self.total: int | None = None
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def status(self) -> dict[str, object]:
        photos = [self._photo(n, content) for n, (_, content) in sorted(self.photos.items())]
        states = [photo["state"] for photo in photos]
        return {
            "state": "open" if self.total is None else "complete",
            "total": self.total,
            "done": states.count("done"),
            "failed": states.count("failed"),
            "photos": photos,
        }

    def _photo(self, n: int, content: bytes) -> dict[str, object]:
        if not content:
            return {"n": n, "state": "failed", "code": "empty-file", "detail": "It is empty.", "url": None}
        done = self.total is not None
        url = f"{JOB}/photos/{n}" if done else None
        return {"n": n, "state": "done" if done else "queued", "code": None, "detail": None, "url": url}


class _Handler(BaseHTTPRequestHandler):
    server: FakeEbbmark
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        if self._is_busy():
            return
        if self.path == "/jobs":
            self.server.form = body
            self.server.keys.append(self.headers["idempotency-key"])
            self._answer(202, {"status_url": JOB, "events_url": f"{JOB}/events"})
        else:
            self.server.total = json.loads(body)["total"]
            self._answer(202, {})

    def do_PUT(self) -> None:
        body, n = self._body(), int(self.path.rpartition("/")[2])
        if self._is_busy():
            return
        if n >= self.server.most:
            self._answer(413, {"code": "too-many-files", "detail": "That is too many."})
            return
        self.server.photos[n] = (unquote(self.headers["x-filename"]), body)
        if body:
            self._answer(201, {})
        else:
            self._answer(415, {"code": "empty-file", "detail": "It is empty."})

    def do_GET(self) -> None:
        if self._is_busy():
            return
        if self.path == JOB:
            self._answer(200, self.server.status())
        elif self.path == f"{JOB}/events" and not self.server.stream:
            self._answer(404, {})
        elif self.path == f"{JOB}/events":
            snapshot = json.dumps(self.server.status()).encode()
            events = b": ping\r\n\r\nid: 7\r\nevent: snapshot\r\ndata: " + snapshot + b"\r\n\r\n"
            self._reply(200, events, {"content-type": "text/event-stream"})
        else:
            name = self.server.photos[int(self.path.rpartition("/")[2])][0]
            self._reply(
                200, b"result", {"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
            )

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Say nothing."""

    def _is_busy(self) -> bool:
        with self.server.lock:
            busy, self.server.busy = self.server.busy > 0, self.server.busy - 1
        if busy:
            problem = {"code": "too-many-uploads", "detail": "Many uploads are under way."}
            self._answer(429, problem, {"retry-after": "0"})
        return busy

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self._reply(status, json.dumps(body).encode(), headers or {})

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(server: FakeEbbmark) -> Generator[FakeEbbmark]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def ebbmark() -> Generator[FakeEbbmark]:
    with serving(FakeEbbmark()) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.PNG"):
        (photos / name).write_bytes(b"content of " + name.encode())
    return photos


def ran(folder: Path, url: str, *words: str) -> int:
    parser = argparse.ArgumentParser()
    send.add_arguments(parser)
    out = str(folder.parent / "out")
    return send.run(parser.parse_args([str(folder), "--url", url, "--out", out, *(words or ["--grayscale"])]))


def test_every_parameter_of_every_operation_has_a_flag_that_its_form_understands() -> None:
    wanted = {
        (str(operation["name"]), parameter)
        for operation in operations_schema()
        for parameter in operation["parameters"]["properties"]  # pyright: ignore[reportIndexIssue]
    }
    assert {(flag.operation, flag.parameter) for flag in send.flags() if flag.parameter} == (
        wanted - {("watermark", "logo")}
    )
    given = fields(
        "--width", "800", "--fit", "inside", "--no-outline", "--angle", "-30", "--text", "© Ann", "--enlarge"
    )
    resize, watermark = recipe_from_form([given.pop("operations")], given).operations
    assert (resize.width, resize.fit, resize.enlarge) == (800, "inside", True)
    assert (watermark.text, watermark.outline, watermark.angle) == ("© Ann", False, -30)


def test_a_flag_implies_its_operation_and_the_order_is_the_useful_one() -> None:
    assert fields("--width", "800") == {"operations": "resize", "resize.width": "800"}
    assert fields("--grayscale") == {"operations": "grayscale"}
    everything = fields("--format", "webp", "--text", "x", "--radius", "0.1", "--grayscale", "--height", "9")
    assert everything["operations"] == "resize,grayscale,blur,watermark,convert"
    assert fields("--logo", "l.png") == {"operations": "watermark"}


def test_operations_named_come_in_the_order_named() -> None:
    assert fields("--operations", "watermark,resize", "--width", "8", "--text", "x")["operations"] == (
        "watermark,resize"
    )


def test_an_empty_text_is_still_said() -> None:
    assert fields("--text", "") == {"operations": "watermark", "watermark.text": ""}


def test_a_recipe_goes_as_it_is_and_not_beside_flags() -> None:
    assert fields("--recipe", '{"operations":[]}') == {"recipe": '{"operations":[]}'}
    for also in (["--width", "8"], ["--grayscale"], ["--operations", "blur"]):
        with pytest.raises(send.SendError, match="not by both"):
            fields("--recipe", "{}", *also)


def test_two_operations_with_one_parameter_get_a_flag_each() -> None:
    plugins: list[dict[str, object]] = [
        {"name": "frame", "parameters": {"properties": {"size": {}, "json": {}}}},
        {"name": "tint", "parameters": {"properties": {"size": {}, "dark_ink": {}}}},
        {"name": "sepia", "parameters": {"properties": {}}},
    ]
    assert {flag.option: flag.field for flag in send.flags(plugins)} == {
        "--frame.size": "frame.size",
        "--frame.json": "frame.json",  # `--json` is the command's own
        "--tint.size": "tint.size",
        "--dark-ink": "tint.dark_ink",
        "--sepia": "sepia",
    }


@pytest.mark.parametrize("flag", [["--format", "gif"], ["--wdth", "8"], ["--fit"]])
def test_a_wrong_flag_ends_with_2(flag: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*flag)
    assert ended.value.code == 2


def test_folders_stand_for_the_photos_in_them(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.webp", "deep/c.Jpeg", "d.png", "notes.txt", "e.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "album.jpg").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in send.find_photos([tmp_path])]
    assert found == ["a.webp", "b.JPG", "d.png", "deep/c.Jpeg"]
    assert send.find_photos([tmp_path / "e.gif"]) == [tmp_path / "e.gif"]  # named, so meant


def test_what_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.jpg"):
        with pytest.raises(send.SendError) as refused:
            send.find_photos([path])
        assert refused.value.exit_code == send.WRONG


def test_a_result_never_overwrites_a_file(tmp_path: Path) -> None:
    saved = [send.save(tmp_path, "a.b.jpg", content) for content in (b"1", b"2", b"3")]
    assert [path.name for path in saved] == ["a.b.jpg", "a.b (2).jpg", "a.b (3).jpg"]
    assert [path.read_bytes() for path in saved] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("name", ["../../evil.jpg", "/etc/evil.jpg", "..", ".", "", "e\0vil.jpg", "a/.."])
def test_a_server_cannot_name_a_file_elsewhere(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert send.save(out, name, b"x").parent == out
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_photos_go_there_and_results_come_back(
    ebbmark: FakeEbbmark, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "Гора.jpg").write_bytes(b"mountain")
    assert ran(folder, ebbmark.url, "--text", "© Ann", "--json") == send.ALL_DONE
    assert ebbmark.photos[2] == ("Гора.jpg", b"mountain")
    assert ebbmark.total == 3
    assert b'name="watermark.text"' in ebbmark.form
    assert "© Ann".encode() in ebbmark.form
    out = capsys.readouterr()
    summary = json.loads(out.out)
    assert (summary["total"], summary["done"], summary["failed"]) == (3, 3, 0)
    assert summary["job"] == ebbmark.url + JOB
    assert [Path(path).name for path in summary["files"]] == ["a.jpg", "b.PNG", "Гора.jpg"]
    assert all(Path(path).read_bytes() == b"result" for path in summary["files"])
    assert "3 of 3 done\n" in out.err
    assert "\033" not in out.err


def test_a_refused_file_is_named_and_the_others_come_back(
    ebbmark: FakeEbbmark, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "a.jpg").write_bytes(b"")
    assert ran(folder, ebbmark.url) == send.SOME_FAILED
    assert ebbmark.total == 2
    assert "a.jpg: It is empty. (empty-file)\n" in capsys.readouterr().err
    assert [path.name for path in (folder.parent / "out").iterdir()] == ["b.PNG"]


def test_what_the_server_did_not_even_enter_is_not_sealed_and_has_failed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(FakeEbbmark(most=1)) as server:
        assert ran(folder, server.url, "--grayscale", "--json") == send.SOME_FAILED
    assert server.total == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["total"], summary["done"], summary["failed"]) == (2, 1, 1)
    assert summary["failures"] == [{"name": "b.PNG", "code": "too-many-files", "detail": "That is too many."}]


def test_a_job_of_which_nothing_was_entered_is_wrong_input(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(FakeEbbmark(most=0)) as server:
        assert ran(folder, server.url) == send.WRONG
    assert server.total is None
    assert "That is too many. (too-many-files)" in capsys.readouterr().err


def test_a_busy_server_is_asked_again_under_the_same_key(folder: Path) -> None:
    with serving(FakeEbbmark(busy=2)) as server:
        assert ran(folder, server.url) == send.ALL_DONE
    assert len(server.photos) == 2
    assert len(server.keys[0]) == 32


def test_without_an_event_stream_it_asks(folder: Path) -> None:
    with serving(FakeEbbmark(stream=False)) as server:
        assert ran(folder, server.url) == send.ALL_DONE
    assert len(list((folder.parent / "out").iterdir())) == 2


def test_who_does_not_wait_gets_the_link(
    ebbmark: FakeEbbmark, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(folder, ebbmark.url, "--grayscale", "--no-wait") == send.ALL_DONE
    assert capsys.readouterr().out == f"{ebbmark.url}{JOB}\n"
    assert ebbmark.total == 2
    assert not (folder.parent / "out").exists()


def test_a_server_that_is_not_there_ends_with_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(folder, "http://127.0.0.1:9") == send.UNAVAILABLE
    assert capsys.readouterr().err == "ebbmark send: nobody answers at http://127.0.0.1:9\n"


@pytest.mark.parametrize("url", ["example", "ftp://127.0.0.1", "http://"])
def test_what_is_no_address_ends_with_2(folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(folder, url) == send.WRONG
    assert f"not an address: {url}" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_noticed_before_anything_is_sent(
    ebbmark: FakeEbbmark, folder: Path
) -> None:
    (folder.parent / "out").write_text("a file")
    assert ran(folder, ebbmark.url) == send.WRONG
    assert not ebbmark.photos
