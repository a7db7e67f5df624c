"""A worker's slots: each lane always has some of its own, and the rest go to whoever comes first."""

import asyncio
from collections import deque


class Lanes:
    """`total` photos in hand at once, of which every lane may count on `reserved`."""

    def __init__(self, names: list[str], *, total: int, reserved: int) -> None:
        """`total` must leave room for the reserved slots of all lanes."""
        if total < reserved * len(names):
            message = f"{total} slots cannot reserve {reserved} for each of {len(names)} lanes"
            raise ValueError(message)
        self._total = total
        self._reserved = reserved
        self._used = dict.fromkeys(names, 0)
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {name: deque() for name in names}

    def lane(self, name: str) -> "Lane":
        """Return the slots as one lane sees them."""
        return Lane(self, name)

    def _free_for(self, name: str) -> bool:
        kept_for_others = sum(
            max(0, self._reserved - used) for other, used in self._used.items() if other != name
        )
        return sum(self._used.values()) + kept_for_others < self._total

    async def acquire(self, name: str) -> None:
        """Wait for a slot of this lane, first come first served."""
        if not self._waiting[name] and self._free_for(name):
            self._used[name] += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[name].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the slot was given in the very moment
                self.release(name)
            elif turn in self._waiting[name]:
                self._waiting[name].remove(turn)
            raise

    def release(self, name: str) -> None:
        """Give the slot back, and wake who may have it: the lane with fewer slots in use first."""
        self._used[name] -= 1
        for each in sorted(self._used, key=self._used.__getitem__):
            while self._waiting[each] and self._free_for(each):
                turn = self._waiting[each].popleft()
                if not turn.done():
                    self._used[each] += 1
                    turn.set_result(None)


class Lane:
    """One lane's slots, in the shape of a semaphore."""

    def __init__(self, lanes: Lanes, name: str) -> None:
        """See `Lanes.lane`."""
        self._lanes = lanes
        self._name = name

    async def acquire(self) -> None:
        """Wait for a slot."""
        await self._lanes.acquire(self._name)

    def release(self) -> None:
        """Give it back."""
        self._lanes.release(self._name)
