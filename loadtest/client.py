"""The HTTP interface as a load sees it: what the pages do, and how long it takes."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx

_BUSY = {429, 502, 503, 504}
_TRIES = 30
_LONGEST_PAUSE = 5.0


class AwayError(Exception):
    """The server was busy or away for too long; the text is for the person who waits."""


class Client:
    """One sender of photos."""

    def __init__(self, base_url: str, *, address: str | None = None) -> None:
        """Keep connections open between requests; they come from `address`, so that clients can differ."""
        self.http = httpx.Client(
            base_url=base_url,
            timeout=httpx.Timeout(120, connect=5),
            headers={"accept": "application/json"},
            transport=httpx.HTTPTransport(local_address=address),
        )

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def insist(self, method: str, url: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        """Send, and send again while the server is busy or away; raise for any other refusal.

        Raises:
            AwayError: it was for too long.
        """
        trouble = ""
        for tries in range(_TRIES):
            pause = min(_LONGEST_PAUSE, 0.25 * 2**tries)
            try:
                answer = self.http.request(method, url, **request)
            except httpx.TransportError:
                trouble = f"Nobody answers at {self.http.base_url} any more."
            else:
                if answer.status_code not in _BUSY:
                    return answer.raise_for_status()
                trouble = f"{self.http.base_url} is busy: it answers {answer.status_code} again and again."
                asked = answer.headers.get("retry-after", "")
                pause = min(_LONGEST_PAUSE, float(asked)) if asked.isdecimal() else pause
            time.sleep(pause)
        raise AwayError(trouble)

    def send_form(self, name: str, content: bytes, fields: Mapping[str, str]) -> str:
        """Send one photo as one form; return the job's path."""
        return self.send_all([(name, content)], fields)

    def send_all(self, photos: Sequence[tuple[str, bytes]], fields: Mapping[str, str]) -> str:
        """Send all photos as one form; return the job's path."""
        parts: list[tuple[str, Any]] = [("files", photo) for photo in photos]
        parts += [(field, (None, value.encode())) for field, value in fields.items()]
        return self.insist("POST", "/upload", files=parts, headers=_key()).json()["status_url"]

    def send_folder(
        self,
        photos: Sequence[tuple[str, bytes]],
        fields: Mapping[str, str],
        *,
        at_once: int = 3,
        on_sent: Callable[[int], object] = lambda _: None,
        on_open: Callable[[str], object] = lambda _: None,
    ) -> str:
        """Open a job, send each photo as its own request as the page does, seal; return the job's path."""
        parts = [(field, (None, value.encode())) for field, value in fields.items()]
        job: str = self.insist("POST", "/jobs", files=parts, headers=_key()).json()["status_url"]
        on_open(job)

        def put(n: int) -> None:
            name, content = photos[n]
            self.insist("PUT", f"{job}/photos/{n}", content=content, headers={"x-filename": quote(name)})
            on_sent(n)

        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(put, range(len(photos))))
        self.insist("POST", f"{job}/seal", json={"total": len(photos)})
        return job

    def wait(self, job: str, *, pause: float = 0.1) -> dict[str, Any]:
        """Return the job's status once it is complete; look for it every `pause` seconds."""
        while True:
            status: dict[str, Any] = self.insist("GET", job).json()
            if status["state"] == "complete":
                return status
            time.sleep(pause)


def _key() -> dict[str, str]:
    return {"idempotency-key": uuid.uuid4().hex}  # sent again, it is the same job
