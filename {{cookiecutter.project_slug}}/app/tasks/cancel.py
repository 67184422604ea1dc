"""Ending what runs beside the tasks."""

import asyncio
from typing import Any

# Seconds between two cancellations.
PAUSE = 1.0


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait for its end.

    More than once: before Python 3.12, `asyncio.wait_for` in redis-py may lose a cancellation.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=PAUSE)
