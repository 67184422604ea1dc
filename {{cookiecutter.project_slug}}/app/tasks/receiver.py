"""Runs the messages of the queue."""

import logging
from typing import Any

from taskiq import AckableMessage, TaskiqResult
from taskiq.exceptions import UnknownTaskError
from taskiq.receiver import Receiver
from taskiq.utils import maybe_awaitable

from app.tasks.middleware import TaskFinished
from app.tasks.stream_message import StreamMessage

logger = logging.getLogger(__name__)


class TaskReceiver(Receiver):
    """A receiver that loses no message.

    taskiq forgets a message when an error comes around its task: before it, in a middleware, or
    after it, when the result is kept. Such a message is given back here, and delivered again.
    """

    async def callback(self, message: bytes | AckableMessage, raise_err: bool = False) -> None:
        """Run the task of `message`; `raise_err` of taskiq is always on."""
        try:
            await super().callback(message, raise_err=True)
        except TaskFinished:
            # Only a queue that delivers again can find that out.
            assert isinstance(message, StreamMessage)
            await maybe_awaitable(message.ack())
        except Exception as error:
            if isinstance(error, UnknownTaskError):
                logger.error("this worker does not know the task %s", error.task_name)
            else:
                logger.exception("an error around a task")
            if isinstance(message, StreamMessage):
                message.give_back()
            else:
                await self.fail(message)

    async def fail(self, message: Any) -> None:
        """Mark a task as failed that is not delivered again."""
        task = self.broker.formatter.loads(message)
        result: TaskiqResult[Any] = TaskiqResult(
            is_err=True, return_value=None, execution_time=0, labels=task.labels
        )
        await self.broker.result_backend.set_result(task.task_id, result)
