"""Rooms within one process."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.realtime.hub import Inbox


class MemoryHub:
    """A hub for a single process. `queue_size`: messages that may wait for one socket."""

    def __init__(self, *, queue_size: int) -> None:
        self.queue_size = queue_size
        self.rooms: dict[str, set[Inbox]] = {}

    async def start(self) -> None:
        """There is nothing to begin."""

    async def stop(self) -> None:
        """There is nothing to end."""

    async def check(self) -> None:
        """There is nothing to fail."""

    @contextmanager
    def join(self, room: str, on_overflow: Callable[[], object]) -> Iterator[Inbox]:
        """Be in the room for as long as the block runs."""
        inbox = Inbox(self.queue_size, on_overflow)
        members = self.rooms.setdefault(room, set())
        members.add(inbox)
        try:
            yield inbox
        finally:
            members.remove(inbox)
            if not members:
                del self.rooms[room]

    async def publish(self, room: str, text: str) -> None:
        """Send a message to everyone in the room."""
        await self.deliver(room, text)

    async def deliver(self, room: str, text: str) -> None:
        """Put a message into every inbox of the room."""
        filling = False
        for inbox in self.rooms.get(room, ()):
            filling |= inbox.put(text)
        if filling:
            # Let them be emptied: a burst of one socket would fill them all before anyone reads.
            await asyncio.sleep(0)
