"""What the routes know of a hub: rooms, and who is in them."""

import asyncio
from collections import deque
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

    # asyncio.Queue does the same in twice the time, and every message meets every inbox of a room.

    def __init__(self, size: int, on_overflow: Callable[[], object]) -> None:
        self.overflowed = False
        self._size = size
        self._on_overflow = on_overflow
        self._texts: deque[str] = deque()
        self._reader: asyncio.Future[None] | None = None

    def put(self, text: str) -> bool:
        """Add a message; return whether the inbox is half full by now."""
        waiting = len(self._texts)
        if waiting < self._size:
            self._texts.append(text)
            if self._reader and not self._reader.done():
                self._reader.set_result(None)
        elif not self.overflowed:
            self.overflowed = True
            self._on_overflow()
        return waiting * 2 >= self._size

    async def get(self) -> str:
        """Wait for the next message. One task at a time may."""
        if not self._texts:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._texts.popleft()


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
