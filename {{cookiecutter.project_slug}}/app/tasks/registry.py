"""The tasks of this service, and when they run by themselves."""

from collections.abc import Callable
from typing import Any

from app.tasks.jobs import write_message
from app.tasks.schedule import Schedule

# What workers can run, by the names that are in the queue. Add yours, and keep a name as long as
# there may be messages with it.
TASKS: dict[str, Callable[..., Any]] = {"write_message": write_message}

# Scheduled tasks, in UTC, such as Schedule(write_message, "0 3 * * *", ["Good night"]).
SCHEDULES: list[Schedule] = []
