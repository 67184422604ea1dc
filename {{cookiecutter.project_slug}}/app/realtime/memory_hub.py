"""Rooms within one process."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.realtime.inbox import Inbox, Send

# Messages that are told to a room at a time: in a burst all of them go to one socket after the
# other, which is faster than each to all sockets.
MAX_BURST = 10


class MemoryHub:
    """A hub for a single process. `queue_size`: messages that may wait for one socket."""

    def __init__(self, *, queue_size: int) -> None:
        self.queue_size = queue_size
        # Not sets: in the order in which they came, sockets are closer to each other in memory.
        self.rooms: dict[str, dict[Inbox, None]] = {}
        self._untold: dict[str, list[str]] = {}
        self._tellers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """There is nothing to begin."""

    async def stop(self) -> None:
        """There is nothing to end."""

    async def check(self) -> None:
        """There is nothing to fail."""

    @contextmanager
    def join(self, room: str, send: Send, on_overflow: Callable[[], object]) -> Iterator[Inbox]:
        """Be in the room for as long as the block runs."""
        inbox = Inbox(self.queue_size, send, on_overflow)
        members = self.rooms.setdefault(room, {})
        members[inbox] = None
        try:
            yield inbox
        finally:
            del members[inbox]
            if not members:
                del self.rooms[room]

    async def publish(self, room: str, text: str) -> None:
        """Send a message to everyone in the room."""
        await self.deliver(room, text)

    async def deliver(self, room: str, text: str) -> None:
        """Put a message into every inbox of the room, soon."""
        if room not in self.rooms:
            return
        untold = self._untold.setdefault(room, [])
        untold.append(text)
        if len(untold) == 1:
            teller = asyncio.create_task(self._tell(room))
            self._tellers.add(teller)
            teller.add_done_callback(self._tellers.discard)
        elif len(untold) >= MAX_BURST:
            await asyncio.sleep(0)

    async def _tell(self, room: str) -> None:
        texts = self._untold.pop(room)
        for inbox in self.rooms.get(room, ()):
            for text in texts:
                inbox.put(text)
