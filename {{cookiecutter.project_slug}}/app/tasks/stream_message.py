"""A task as a worker holds it."""

from collections.abc import Callable

from taskiq import AckableMessage


class StreamMessage(AckableMessage):
    """A message that a worker either acknowledges, or gives back for another try."""

    give_back: Callable[[], None]
