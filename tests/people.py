"""What people do with Ebbmark from outside, over HTTP, for tests that meet it as they do."""

import io
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
from PIL import Image, ImageFilter

PATIENCE = 60.0

Upload = tuple[str, bytes]


def photo(
    width: int = 640, height: int = 480, *, form: str = "JPEG", seed: int = 0, orientation: int | None = None
) -> bytes:
    """Return a photo-like image; equal seeds give equal bytes."""
    left, right = (seed * 37) % 200, (seed * 91) % 200
    frame = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    frame = Image.merge(
        "RGB",
        [
            band.point(lambda v, by=by: (v + by) % 256)
            for band, by in zip(frame.split(), (0, left, right), strict=True)
        ],
    )
    frame = frame.filter(ImageFilter.GaussianBlur(1))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    return saved_as(frame, form, **({"exif": exif} if orientation is not None else {}))


def saved_as(image: Image.Image, form: str, **more: Any) -> bytes:  # noqa: ANN401 - Pillow's
    """Return the image as a file of this format."""
    saved = io.BytesIO()
    image.save(saved, form, quality=85, **more)
    return saved.getvalue()


def opened(content: bytes) -> Image.Image:
    """Return the image, whole and decoded."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


class Person:
    """Someone with a program that speaks HTTP."""

    def __init__(self, base_url: str) -> None:
        self.http = httpx.Client(base_url=base_url, timeout=PATIENCE, headers={"accept": "application/json"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def post(
        self,
        uploads: Sequence[Upload],
        *,
        path: str = "/upload",
        headers: Mapping[str, str] | None = None,
        **fields: str,
    ) -> httpx.Response:
        """Send a form as curl does: the files first, then the fields."""
        parts: list[tuple[str, Any]] = [("files", upload) for upload in uploads]
        parts += [(name, (None, value.encode())) for name, value in fields.items()]
        return self.http.post(path, files=parts, headers=headers)

    def send(self, uploads: Sequence[Upload], **fields: str) -> str:
        """Send a job in one form; return its status URL."""
        answer = self.post(uploads, **(fields or {"operations": "watermark", "text": "© Студия 2026"}))
        assert answer.status_code == 202, answer.text
        return answer.json()["status_url"]

    def open(self, **fields: str) -> str:
        """Open a job to be filled; return its status URL."""
        answer = self.post([], path="/jobs", **(fields or {"operations": "watermark", "text": "© me"}))
        assert answer.status_code == 202, answer.text
        return answer.json()["status_url"]

    def put(self, job: str, n: int, upload: Upload) -> httpx.Response:
        """Send one photo to an open job."""
        name, content = upload
        return self.http.put(f"{job}/photos/{n}", content=content, headers={"x-filename": quote(name)})

    def seal(self, job: str, total: int) -> httpx.Response:
        """Say that all are there."""
        return self.http.post(f"{job}/seal", json={"total": total})

    def status(self, job: str) -> dict[str, Any]:
        """Return the job's status."""
        answer = self.http.get(job)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait_until_complete(self, job: str, *, within: float = PATIENCE) -> dict[str, Any]:
        """Return the status of the job once every photo ended."""
        return eventually(
            lambda: self.status(job), lambda status: status["state"] == "complete", within=within
        )

    def archive(self, job: str) -> dict[str, bytes]:
        """Return what the archive holds, checked."""
        answer = self.http.get(f"{job}/archive")
        assert answer.status_code == 200, answer.text
        assert int(answer.headers["content-length"]) == len(answer.content)
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            return {name: archive.read(name) for name in archive.namelist()}


def eventually(
    look: Callable[[], Any],
    good: Callable[[Any], bool],
    *,
    within: float = PATIENCE,
    every: float = 0.1,
) -> Any:  # noqa: ANN401
    """Look again and again until it is good; fail with what was seen last."""
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if good(seen):
            return seen
        assert time.monotonic() < deadline, f"still not after {within:.0f} s: {seen}"
        time.sleep(every)
