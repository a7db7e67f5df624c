"""A person's visit to the pages, in Chromium, and everything about it that nobody should have to see."""

import asyncio
import base64
import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from playwright.async_api import Dialog, FilePayload, Locator, Page, Request, Route, expect

from tests.people import photo

MARK = "© Студия 2026"
PATIENCE_MS = 60_000
JOB_PAGE = re.compile(r"/jobs/[\w-]{20,}$")
SHOWN = "[data-tiles] > li[data-state=done] img:not(.local)"
DONE = "[data-tiles] > li[data-state=done]"
FAILED = "[data-tiles] > li[data-state=failed]"

DROP = """(target, files) => {
  const dataTransfer = new DataTransfer();
  for (const { name, mimeType, content } of files) {
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    dataTransfer.items.add(new File([bytes], name, { type: mimeType }));
  }
  for (const kind of ["dragenter", "dragover", "drop"]) {
    target.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
  }
}"""


@dataclass
class Visit:
    """One person's page, and everything about it that nobody should have to see."""

    page: Page
    origin: str
    complaints: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on(
            "console",
            lambda said: self.complaints.append(said.text) if said.type in {"error", "warning"} else None,
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", self._refuse)
        self.page.context.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108 - Playwright marks what it calls

    async def _refuse(self, dialog: Dialog) -> None:
        self.dialogs.append(f"{dialog.type}: {dialog.message}")
        await dialog.dismiss()

    async def drop(self, *files: FilePayload) -> None:
        payload = [
            {
                "name": each["name"],
                "mimeType": each["mimeType"],
                "content": base64.b64encode(each["buffer"]).decode(),
            }
            for each in files
        ]
        await self.page.locator("#drop").evaluate(DROP, payload)

    async def send(self) -> str:
        """Submit; return the job's address, which the page has by then."""
        await self.page.get_by_role("button", name="Mark the photos").click()
        await expect(self.page).to_have_url(JOB_PAGE)
        return self.page.url

    async def see_the_end(self) -> None:
        await expect(self.page.locator("h1:visible")).to_have_text(
            re.compile("are ready|could be done"), timeout=PATIENCE_MS
        )

    def assert_undisturbed(self, *, statuses: Sequence[int] = ()) -> None:
        """Nothing failed but what the test made fail, and nothing left the server's origin."""
        expected = [f"status of {status}" for status in statuses]
        assert [text for text in self.complaints if not any(part in text for part in expected)] == []
        assert self.dialogs == []
        assert {
            each.url for each in self.requests if not each.url.startswith((self.origin, "blob:"))
        } == set()


@dataclass
class Gate:
    """Holds the requests that a pattern matches until it is opened."""

    page: Page
    pattern: str
    held: list[Route] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def _hold(self, route: Route) -> None:
        self.held.append(route)
        await self.opened.wait()
        await route.continue_()

    async def close(self) -> None:
        await self.page.route(self.pattern, self._hold)

    def open(self) -> None:
        self.opened.set()


class Open(Protocol):
    """Opens a page for one more person."""

    def __call__(self, *, scripts: bool = True) -> AbstractAsyncContextManager[Visit]: ...


def jpeg(name: str, content: bytes | None = None) -> FilePayload:
    return {"name": name, "mimeType": "image/jpeg", "buffer": content or photo(640, 480)}


async def assert_shown(pictures: Locator, count: int) -> None:
    await expect(pictures).to_have_count(count)
    for picture in await pictures.all():
        await picture.scroll_into_view_if_needed()
        await expect(picture).to_have_js_property("complete", value=True)
        assert await picture.evaluate("picture => picture.naturalWidth") > 0
