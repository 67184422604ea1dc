"""What happens around each task: its status, its request's id, another try."""

import asyncio
import json
import logging
from typing import Any

from taskiq import NoResultError, TaskiqMessage, TaskiqMiddleware, TaskiqResult
from taskiq.depends.progress_tracker import TaskProgress
from taskiq.kicker import AsyncKicker

from app.core.logging import context

# The longest pause between two tries, in seconds.
LONGEST_DELAY = 300.0

logger = logging.getLogger(__name__)


class StatusMiddleware(TaskiqMiddleware):
    """Says how far a task is, and takes the context of the request along to the worker's logs."""

    async def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        # As text: of other labels, a second try would get no more than that.
        message.labels.setdefault("context", json.dumps(dict(context.get())))
        await self.set_status(message, "pending")
        return message

    async def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        # For this task alone: each runs in a context of its own.
        fields = json.loads(message.labels.get("context", "{}"))
        context.set({**fields, "task_id": message.task_id})
        await self.set_status(message, "running")
        return message

    async def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        try:
            result.model_dump_json()
        except Exception as error:
            # Else it could not be stored, and the task would seem to run for ever.
            logger.error("the result of %s does not fit into JSON", message.task_name)
            result.is_err, result.return_value, result.error = True, None, error

    async def set_status(self, message: TaskiqMessage, status: str) -> None:
        progress: TaskProgress[None] = TaskProgress(state=status, meta=None)
        await self.broker.result_backend.set_progress(message.task_id, progress)


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
        if tries > self.retries:
            logger.error("task %s failed for good, tries: %d", message.task_name, tries)
            return
        await asyncio.sleep(min(self.delay * 2 ** (tries - 1), LONGEST_DELAY))
        labels = {**message.labels, "tries": tries + 1}
        kicker = AsyncKicker[..., Any](message.task_name, self.broker, labels)
        await kicker.with_task_id(message.task_id).kiq(*message.args, **message.kwargs)
        # This try is not the last word.
        result.error = NoResultError()
