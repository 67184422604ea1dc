"""Rooms in the memory of one process."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from app.realtime.outgoing_queue import OutgoingQueue, Send

# The maximum number of messages that are delivered to a room together. Sending all messages of a
# burst to one member after the other is faster than sending each message to all members.
MAX_BURST = 10
# Seconds of delivery after which other work of the event loop has a turn.
SLICE = 0.01


class MemoryHub:
    """A hub for a single process.

    `queue_size`: the maximum number of messages that wait for one member.
    """

    def __init__(self, *, queue_size: int) -> None:
        self.queue_size = queue_size
        # Dictionaries instead of sets: in the order of joining, members are closer in memory.
        self.rooms: dict[str, dict[OutgoingQueue, None]] = {}
        self._pending: dict[str, tuple[list[str], asyncio.Task[None]]] = {}
        self._deliveries: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

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
        """Schedule a message for every queue of the room.

        Waits while the room has a full burst of messages to deliver. So those who send more than
        this process can deliver are slowed down, and everything else goes on.
        """
        while (pending := self._pending.get(room)) and len(pending[0]) >= MAX_BURST:
            await asyncio.wait([pending[1]])
        if pending:
            pending[0].append(text)
        elif room in self.rooms:
            delivery = asyncio.create_task(self._deliver_pending(room))
            self._pending[room] = [text], delivery
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)

    async def _deliver_pending(self, room: str) -> None:
        # One room after the other, each for a moment: deliveries never fill the event loop.
        async with self._turn:
            texts, _ = self._pending.pop(room)
            members = self.rooms.get(room, {})
            turn_ends = perf_counter() + SLICE
            for queue in list(members):
                if perf_counter() > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = perf_counter() + SLICE
                # It may have left meanwhile.
                if queue in members:
                    for text in texts:
                        queue.put(text)
