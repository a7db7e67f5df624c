"""Ann, who uses the pages as they are, Ben, who allows no scripts, and whoever else is wanted."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from ebbmark.settings import Settings
from tests.browser.visits import PATIENCE_MS, Open, Visit
from tests.system import System


@pytest.fixture(scope="module")
def system_settings(room: Settings) -> Settings:
    """Smaller limits, so that a test reaches them at once."""
    return msgspec.structs.replace(
        room,
        photo=msgspec.structs.replace(room.photo, bytes=1024**2),
        job=msgspec.structs.replace(room.job, bytes=3 * 1024**2),
        worker=msgspec.structs.replace(room.worker, children=1),
        log=msgspec.structs.replace(room.log, format="console"),
    )


@pytest.fixture
def someone(browser: Browser, running_system: System) -> Open:
    @asynccontextmanager
    async def opening(*, scripts: bool = True) -> AsyncGenerator[Visit]:
        context = await browser.new_context(base_url=running_system.base_url, java_script_enabled=scripts)
        context.set_default_timeout(PATIENCE_MS)
        visit = Visit(await context.new_page(), running_system.base_url)
        visit.listen()
        try:
            yield visit
        finally:
            await context.close()

    return opening


@pytest_asyncio.fixture(loop_scope="session")
async def ann(someone: Open) -> AsyncGenerator[Visit]:
    async with someone() as visit:
        await visit.page.goto("/")
        yield visit


@pytest_asyncio.fixture(loop_scope="session")
async def ben(someone: Open) -> AsyncGenerator[Visit]:
    """He allows no scripts."""
    async with someone(scripts=False) as visit:
        await visit.page.goto("/")
        yield visit
