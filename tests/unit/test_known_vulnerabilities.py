"""`make lint` fails for a known vulnerability of what production installs, and not when nobody can tell."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

AUDIT = Path(__file__).parents[2] / ".ci" / "audit"


class Service:
    """Says as OSV would that packages are `bad` in every version, or `answers` whatever it is asked."""

    def __init__(self) -> None:
        self.bad: Sequence[str] = ()
        self.answers: bytes | None = None
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split()[0])
        question = json.loads(await reader.readexactly(length))
        body = self.answers if self.answers is not None else json.dumps(self._say(**question)).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    def _say(self, package: dict[str, str], version: str) -> dict[str, object]:
        if package["name"] not in self.bad:
            return {}
        found = {"id": "GHSA-of-this-test", "summary": "It is bad.", "modified": "2026-01-01T00:00:00Z"}
        return {"vulns": [found | {"affected": [{"package": package, "versions": [version]}]}]}


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    async with await asyncio.start_server(service.serve, "127.0.0.1", 0) as server:
        service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/query"
        yield service


async def audit(url: str) -> tuple[int | None, str]:
    """Return the exit code and all that was said."""
    pipe, both = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(AUDIT, sys.executable, url, stdout=pipe, stderr=both)
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_a_known_vulnerability_fails_and_is_named(service: Service) -> None:
    pytest.importorskip("pip_audit")
    service.bad = ["pillow"]
    code, said = await audit(service.url)
    assert (code, "GHSA-of-this-test" in said) == (1, True)


async def test_no_known_vulnerability_is_well(service: Service) -> None:
    pytest.importorskip("pip_audit")
    service.bad = ["what-nobody-installs"]
    code, said = await audit(service.url)
    assert (code, "No known vulnerabilities found" in said) == (0, True)


@pytest.mark.parametrize("answers", [b"<html>Log in to this network", b""])
async def test_another_answer_than_osvs_is_told_and_no_failure(service: Service, answers: bytes) -> None:
    service.answers = answers
    code, said = await audit(service.url)
    assert (code, said.partition(":")[0]) == (0, "Not audited")


async def test_no_answer_is_told_and_no_failure() -> None:
    code, said = await audit("http://127.0.0.1:1/v1/query")
    assert (code, said.partition(":")[0]) == (0, "Not audited")
