"""The three ports in a test's memory: real code under the same contract tests as the real servers.

Each has a switch `down`; while it is on, every method raises `Unavailable`.
"""

from ebbmark.testing.memory_ledger import MemoryLedger
from ebbmark.testing.memory_log import MemoryLog, Record
from ebbmark.testing.memory_store import MemoryStore

__all__ = ["MemoryLedger", "MemoryLog", "MemoryStore", "Record"]
