"""The protocol of hubs, which deliver messages to the members of rooms."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from app.realtime.outgoing_queue import OutgoingQueue, Send


class Unavailable(Exception):
    """A message cannot be sent at the moment, because the hub is not connected."""


class Hub(Protocol):
    """Delivers each message to every member of its room once, in the same order for all."""

    async def start(self) -> None:
        """Start the hub. The service calls this when it starts."""

    async def stop(self) -> None:
        """Stop the hub. The service calls this when it stops."""

    async def check(self) -> None:
        """Raise `Unavailable` while messages cannot be sent."""

    def join(
        self, room: str, send: Send, on_overflow: Callable[[], object]
    ) -> AbstractContextManager[OutgoingQueue]:
        """Add a member to the room while the block runs.

        `send`: sends a message to the member. `on_overflow`: called when too many messages wait
        for the member. Returns the queue of the member.
        """

    async def publish(self, room: str, text: str) -> None:
        """Send a message to every member of the room. Raises `Unavailable` if it was not sent."""
