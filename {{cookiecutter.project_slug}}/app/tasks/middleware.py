"""What happens around each task: its status, the id of its request, another try."""

import asyncio
import json
import logging
from typing import Any

from taskiq import NoResultError, TaskiqMessage, TaskiqMiddleware, TaskiqResult
from taskiq.kicker import AsyncKicker

from app.core.logging import context
from app.tasks.errors import InvalidArguments
from app.tasks.results import TaskResults
from app.tasks.status import dump_bounded

# The longest pause between two tries, in seconds.
LONGEST_DELAY = 300.0

logger = logging.getLogger(__name__)


class TaskFinished(Exception):
    """The task has finished before: its message was delivered once more."""


class StatusMiddleware(TaskiqMiddleware):
    """Keeps the status of each task, and takes the context of the request along to its logs.

    `max_size`: bytes that the result may have as JSON.
    """

    def __init__(self, results: TaskResults, *, max_size: int) -> None:
        super().__init__()
        self.results = results
        self.max_size = max_size

    def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        # As text: taskiq makes texts of other labels at the second try.
        message.labels.setdefault("context", json.dumps(dict(context.get())))
        return message

    async def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        # For this task alone: each runs in a context of its own.
        fields = json.loads(message.labels.get("context", "{}"))
        context.set({**fields, "task_id": message.task_id})
        if not await self.results.begin(message.task_id, message.labels.get("owner")):
            raise TaskFinished
        return message

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        try:
            dump_bounded(result.return_value, self.max_size)
        except Exception as error:
            # The status could not be stored, and the task would seem to run forever.
            logger.error("task %s failed: its result cannot be kept: %s", message.task_name, error)
            result.is_err, result.return_value, result.error = True, None, error


class RetryMiddleware(TaskiqMiddleware):
    """Sends a task that failed again: `retries` times, after `delay` seconds, then twice as long.

    Streams know no delay. So the worker waits, and holds the failed message until the next one is
    there: if the worker dies meanwhile, nothing is lost.
    """

    def __init__(self, *, retries: int, delay: float) -> None:
        super().__init__()
        self.retries = retries
        self.delay = delay

    async def on_error(
        self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException
    ) -> None:
        tries = int(message.labels.get("tries", 1))
        # The arguments of the next try would be the same.
        if tries > self.retries or isinstance(exception, InvalidArguments):
            logger.error("task %s failed for good, tries: %d", message.task_name, tries)
            return
        await asyncio.sleep(min(self.delay * 2 ** (tries - 1), LONGEST_DELAY))
        labels = {**message.labels, "tries": tries + 1}
        kicker = AsyncKicker[..., Any](message.task_name, self.broker, labels)
        await kicker.with_task_id(message.task_id).kiq(*message.args, **message.kwargs)
        # This try does not decide how the task went.
        result.error = NoResultError()
