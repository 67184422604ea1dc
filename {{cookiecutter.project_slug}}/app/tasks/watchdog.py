"""Ends a worker whose task does not end."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic

# Seconds after its timeout that a task has to end.
GRACE = 10.0

logger = logging.getLogger(__name__)


class Watchdog:
    """Ends the process when a task has not ended `limit` seconds after its start.

    A task is cancelled at its timeout. That has no effect on a task that blocks the event loop,
    runs in a thread, or catches the cancellation: it would occupy the worker without end. The
    ended process is restarted, and another worker runs the messages that it held.
    `end`: is called with the exit status.
    """

    def __init__(self, limit: float, *, end: Callable[[int], object] = os._exit) -> None:
        self.limit = limit
        self.end = end
        # Seconds between two looks.
        self.interval = 1.0
        self.deadlines: dict[object, tuple[float, str]] = {}
        self.stopped = Event()

    def start(self) -> None:
        """Watch, in a thread: the event loop may be blocked."""
        Thread(target=self.run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self.stopped.set()

    @contextmanager
    def watch(self, name: str) -> Iterator[None]:
        """Expect the block to end in time. `name`: for the log."""
        key = object()
        self.deadlines[key] = (monotonic() + self.limit, name)
        try:
            yield
        finally:
            del self.deadlines[key]

    def run(self) -> None:
        while not self.stopped.wait(self.interval):
            self.check()

    def check(self) -> None:
        now = monotonic()
        # A copy: other threads start and end tasks meanwhile.
        overdue = [name for deadline, name in list(self.deadlines.values()) if deadline < now]
        if overdue:
            message = "%s did not end at the timeout, which ends this worker"
            logger.critical(message, ", ".join(sorted(overdue)))
            self.end(1)
