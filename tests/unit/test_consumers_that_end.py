"""A process whose consumer ended by itself is gone in time, even when nothing in it can end any more."""

import subprocess
import sys

HUNG = """
import asyncio
from ebbmark import consumer

class Hung(consumer.Consumer):
    async def run(self, stop, ending=None):
        ending()
        await asyncio.Event().wait()

async def main():
    hung = Hung("hung", consumer.Kafka(), None)
    await consumer.run_all([hung, hung], asyncio.Event())

consumer._GONE = 0.2
asyncio.run(main())
"""


def test_what_cannot_leave_in_order_leaves_at_once() -> None:
    ended = subprocess.run([sys.executable, "-c", HUNG], check=False, timeout=60)
    assert ended.returncode == 1
