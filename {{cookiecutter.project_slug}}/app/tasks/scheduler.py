"""Sends the tasks that run by themselves."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from taskiq import AsyncBroker
from taskiq.kicker import AsyncKicker

from app.tasks.schedule import Schedule

# What was due while the process did not run for longer than this is not made up for.
LATE = timedelta(hours=1)
MINUTE = timedelta(minutes=1)

logger = logging.getLogger(__name__)


class Scheduler:
    """Sends a task at each time of its schedule.

    Every worker has one. They give the same id to the same run, and the queue takes an id once. A
    run that the queue does not take is sent when it does; of several that were missed meanwhile,
    the last.
    """

    def __init__(
        self, broker: AsyncBroker, schedules: Sequence[tuple[str, Schedule]], *, now: datetime
    ) -> None:
        self.broker = broker
        self.schedules = schedules
        self.looked_at = now.replace(second=0, microsecond=0)
        # By the number of the schedule.
        self.due: dict[int, datetime] = {}
        self.is_refused = False

    async def run(self) -> None:
        """Send tasks when they are due, forever."""
        while True:
            now = datetime.now(UTC)
            await self.tick(now)
            await asyncio.sleep(1 - now.microsecond / 1_000_000)

    async def tick(self, now: datetime) -> None:
        """Send what is due."""
        minute = max(self.looked_at + MINUTE, now.replace(second=0, microsecond=0) - LATE)
        while minute <= now:
            for number, (_, schedule) in enumerate(self.schedules):
                if schedule.is_due(minute):
                    self.due[number] = minute
            self.looked_at = minute
            minute += MINUTE
        for number, due in list(self.due.items()):
            try:
                await self.send(*self.schedules[number], due)
            except Exception as error:
                if not self.is_refused:
                    logger.error("a scheduled task could not be sent, trying on: %r", error)
                self.is_refused = True
                return
            del self.due[number]
            self.is_refused = False

    async def send(self, name: str, schedule: Schedule, due: datetime) -> None:
        kicker = AsyncKicker[..., Any](name, self.broker, {})
        kicker.with_task_id(schedule.task_id(name, due))
        await kicker.kiq(*schedule.args, **schedule.kwargs)
        logger.info("sent the task %s of %s", name, due.isoformat())
