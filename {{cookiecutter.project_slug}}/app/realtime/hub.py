"""What the routes know of a hub: rooms, and who is in them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from app.realtime.inbox import Inbox, Send


class Unavailable(Exception):
    """A message was not sent: the hub has no connection now."""


class Hub(Protocol):
    """Takes what is published in a room to everyone who is in it: once, in one order for all."""

    async def start(self) -> None:
        """Begin, when the service does."""

    async def stop(self) -> None:
        """End, when the service does."""

    async def check(self) -> None:
        """Raise while messages cannot be sent."""

    def join(
        self, room: str, send: Send, on_overflow: Callable[[], object]
    ) -> AbstractContextManager[Inbox]:
        """Be in the room for as long as the block runs."""

    async def publish(self, room: str, text: str) -> None:
        """Send a message to everyone in the room. Raises `Unavailable` when that is not possible."""
