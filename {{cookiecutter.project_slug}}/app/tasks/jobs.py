"""The tasks of this service: functions that run apart from the request that asked for them."""

import logging

from app.tasks import TaskContext

logger = logging.getLogger(__name__)


async def write_message(context: TaskContext, message: str) -> int:
    """Write a message to the log, and return its length. Put a task of your own in its place."""
    logger.info("message of a task: %s", message)
    return len(message)
