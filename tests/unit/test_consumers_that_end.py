"""A process whose consumers end is gone in time, even when nothing in it can end any more."""

import subprocess
import sys

import pytest

HUNG = """
import asyncio
import sys
from ebbmark import consumer

class Hung(consumer.Consumer):
    async def run(self, stop, ending=None):
        ending(int(sys.argv[1]))
        await asyncio.Event().wait()

async def main():
    hung = Hung("hung", consumer.Kafka(), None)
    await consumer.run_all([hung, hung], asyncio.Event())

consumer._GONE = 0.2
asyncio.run(main())
"""


@pytest.mark.parametrize(("why", "code"), [("told to", 0), ("by itself", 1)])
def test_what_cannot_leave_in_order_leaves_at_once(why: str, code: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HUNG, str(code)], capture_output=True, check=False, timeout=60
    )
    assert ended.returncode == code, why
    assert not ended.stderr
