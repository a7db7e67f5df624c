"""A `Ledger` in memory, with a clock that the test moves."""

from ebbmark.ledger.deliveries import Deliveries
from ebbmark.ledger.letters import Letters
from ebbmark.ledger.proofs import Proofs
from ebbmark.testing.memory_deliveries import MemoryDeliveries
from ebbmark.testing.memory_door import MemoryDoor
from ebbmark.testing.memory_janitor import MemoryJanitor
from ebbmark.testing.memory_letters import MemoryLetters
from ebbmark.testing.memory_proofs import MemoryProofs
from ebbmark.testing.memory_rendering import MemoryRendering


class MemoryLedger(MemoryDoor, MemoryRendering, MemoryJanitor):
    """The same answers as `PostgresLedger`, from dictionaries; `now` is its database's clock."""

    @property
    def deliveries(self) -> Deliveries:
        return MemoryDeliveries(self._jobs, self._answer)

    @property
    def letters(self) -> Letters:
        return MemoryLetters(self._letters, self._jobs, self._answer)

    @property
    def proofs(self) -> Proofs:
        return MemoryProofs(self._jobs, self._answer, self._audits)
