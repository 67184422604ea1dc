"""The queue without Redis: this process itself."""

import asyncio
from typing import Any

from taskiq import BrokerMessage, InMemoryBroker

from app.tasks.errors import QueueFull
from app.tasks.memory_results import MemoryResults
from app.tasks.receiver import TaskReceiver


class MemoryBroker(InMemoryBroker):
    """Runs tasks in this process, and loses them with it: for development.

    `limit`: tasks that may be there at a time; then `kick` raises QueueFull. `stop_timeout`:
    seconds that a stop waits for them.
    """

    def __init__(self, results: MemoryResults, *, limit: int, stop_timeout: float) -> None:
        super().__init__()
        self.results = results
        self.result_backend = results  # type: ignore[assignment]
        # The number is for what listens to a queue, which this one does not.
        self.receiver = TaskReceiver(self, validate_params=False, max_async_tasks=1)
        self.limit = limit
        self.stop_timeout = stop_timeout
        self.tasks: set[asyncio.Task[Any]] = set()

    async def kick(self, message: BrokerMessage) -> None:
        """Start a task. Another try of one always fits in."""
        if "tries" not in message.labels and len(self.tasks) >= self.limit:
            raise QueueFull(f"{self.limit} tasks wait (TASK_QUEUE_SIZE)")
        self.results.write(message.task_id, message.labels.get("owner"), "pending")
        task = asyncio.create_task(self.receiver.callback(message.message))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def wait_all(self) -> None:
        """Wait for all tasks, and for those that they send."""
        while self.tasks:
            await asyncio.wait(self.tasks)

    async def shutdown(self) -> None:
        """Wait for the tasks, for a limited time."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=self.stop_timeout)
        await super().shutdown()
