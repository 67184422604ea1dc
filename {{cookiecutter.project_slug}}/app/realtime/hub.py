"""What the routes know of a hub: rooms, and who is in them."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Unavailable(Exception):
    """A message was not sent: the hub has no connection now."""


class Inbox:
    """The messages that wait for one socket, in order.

    `size` of them at most: who reads slower than others write is not waited for. `on_overflow`
    is called instead, and nothing more is taken.
    """

    def __init__(self, size: int, on_overflow: Callable[[], object]) -> None:
        self.overflowed = False
        self._queue: asyncio.Queue[str] = asyncio.Queue(size)
        self._on_overflow = on_overflow

    def put(self, text: str) -> None:
        """Add a message."""
        if self.overflowed:
            return
        try:
            self._queue.put_nowait(text)
        except asyncio.QueueFull:
            self.overflowed = True
            self._on_overflow()

    async def get(self) -> str:
        """Wait for the next message."""
        return await self._queue.get()


class Hub(Protocol):
    """Takes what is published in a room to everyone who is in it: once, in one order for all."""

    async def start(self) -> None:
        """Begin, when the service does."""

    async def stop(self) -> None:
        """End, when the service does."""

    async def check(self) -> None:
        """Raise while messages cannot be sent."""

    def join(self, room: str, on_overflow: Callable[[], object]) -> AbstractContextManager[Inbox]:
        """Be in the room for as long as the block runs."""

    async def publish(self, room: str, text: str) -> None:
        """Send a message to everyone in the room. Raises `Unavailable` when that is not possible."""
