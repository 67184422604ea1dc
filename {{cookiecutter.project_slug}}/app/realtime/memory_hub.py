"""Rooms in the memory of one process."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.realtime.outgoing_queue import OutgoingQueue, Send

# The maximum number of messages that are delivered to a room together. Sending all messages of a
# burst to one member after the other is faster than sending each message to all members.
MAX_BURST = 10


class MemoryHub:
    """A hub for a single process.

    `queue_size`: the maximum number of messages that wait for one member.
    """

    def __init__(self, *, queue_size: int) -> None:
        self.queue_size = queue_size
        # Dictionaries instead of sets: in the order of joining, members are closer in memory.
        self.rooms: dict[str, dict[OutgoingQueue, None]] = {}
        self._pending: dict[str, list[str]] = {}
        self._deliveries: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Do nothing: messages stay in this process."""

    async def stop(self) -> None:
        """Do nothing: messages stay in this process."""

    async def check(self) -> None:
        """Do nothing: messages can always be sent."""

    @contextmanager
    def join(
        self, room: str, send: Send, on_overflow: Callable[[], object]
    ) -> Iterator[OutgoingQueue]:
        """Add a member to the room while the block runs. Returns its queue."""
        queue = OutgoingQueue(self.queue_size, send, on_overflow)
        members = self.rooms.setdefault(room, {})
        members[queue] = None
        try:
            yield queue
        finally:
            del members[queue]
            if not members:
                del self.rooms[room]

    async def publish(self, room: str, text: str) -> None:
        """Send a message to every member of the room."""
        await self.deliver(room, text)

    async def deliver(self, room: str, text: str) -> None:
        """Schedule a message for every queue of the room."""
        if room not in self.rooms:
            return
        pending = self._pending.setdefault(room, [])
        pending.append(text)
        if len(pending) == 1:
            delivery = asyncio.create_task(self._deliver_pending(room))
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)
        elif len(pending) >= MAX_BURST:
            await asyncio.sleep(0)

    async def _deliver_pending(self, room: str) -> None:
        texts = self._pending.pop(room)
        for queue in self.rooms.get(room, ()):
            for text in texts:
                queue.put(text)
