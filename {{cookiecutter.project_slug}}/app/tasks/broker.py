"""Tasks that workers run, and that are not lost: on Redis, or embedded without one."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ParamSpec

from fastapi import FastAPI
from pydantic import Field
from starlette.requests import Request
from taskiq import AsyncBroker, InMemoryBroker
from taskiq.serializers import JSONSerializer
from taskiq_redis import RedisAsyncResultBackend

from app.core.redis import RedisSettings
from app.tasks.jobs import write_message
from app.tasks.middleware import RetryMiddleware, StatusMiddleware
from app.tasks.status import FAILED, TaskStatus
from app.tasks.streams import StreamBroker

# What workers can run, by the names that stand in the queue. Add yours, and keep a name as long as
# there may be messages with it: a worker drops those that it does not know.
TASKS: dict[str, Callable[..., Any]] = {"write_message": write_message}

# Results that are kept in memory where there is no Redis.
CAPACITY = 10_000

P = ParamSpec("P")

logger = logging.getLogger(__name__)


class TaskSettings(RedisSettings):
    """Work that is handed to workers.

    `TASK_RETRIES` (3): how often a failed task is tried again.
    `TASK_RETRY_DELAY` (1): seconds before the first of them; each further one waits twice as long.
    `TASK_TIMEOUT` (300): seconds that a try may take.
    `TASK_RESULT_TTL` (86400): seconds for which it is known how a task went.
    `TASK_SHUTDOWN_TIMEOUT` (20): seconds that a worker that is stopped gives to its tasks.
    """

    task_retries: int = Field(default=3, ge=0)
    task_retry_delay: float = Field(default=1, ge=0)
    task_timeout: float = Field(default=300, gt=0)
    task_result_ttl: int = Field(default=86400, ge=1)
    task_shutdown_timeout: float = Field(default=20, ge=0)

    def risks(self) -> Iterator[str]:
        if not self.redis_url:
            yield "REDIS_URL: tasks are lost with the process: set it, and start workers"
        yield from super().risks()


def create_broker(settings: TaskSettings) -> AsyncBroker:
    """Return the queue: a stream on Redis for workers, or without `REDIS_URL` this process itself."""
    broker: AsyncBroker
    if not settings.redis_url:
        broker = InMemoryBroker(max_stored_results=CAPACITY)
    else:
        url = settings.redis_url.get_secret_value()
        broker = StreamBroker(url).with_result_backend(
            RedisAsyncResultBackend(
                url,
                result_ex_time=settings.task_result_ttl,
                prefix_str="task",
                # Not the default, pickle: who may write to Redis shall not run code here.
                serializer=JSONSerializer(),
            )
        )
    broker.add_middlewares(
        StatusMiddleware(),
        RetryMiddleware(retries=settings.task_retries, delay=settings.task_retry_delay),
    )
    for name, function in TASKS.items():
        broker.register_task(function, name, timeout=settings.task_timeout)
    return broker


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold the queue of `app`, to which its requests send."""
    await app.state.broker.startup()
    try:
        yield
    finally:
        await app.state.broker.shutdown()


def enqueue(request: Request, function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> str:
    """Have a worker call `function` if this request succeeds; return the id of the task.

    The arguments must fit into JSON. A worker may run a task twice, when it dies between the end
    of the task and the acknowledgement: make it one that may run twice.
    """
    broker: AsyncBroker = request.app.state.broker
    names = {function: name for name, function in TASKS.items()}
    task = broker.local_task_registry[names[function]]
    task_id = broker.id_generator()
    send = partial(task.kicker().with_task_id(task_id).kiq, *args, **kwargs)
    request.state.after_commit.append(send)
    return task_id


async def read_status(broker: AsyncBroker, task_id: str) -> TaskStatus | None:
    """Return what is known of a task."""
    backend = broker.result_backend
    progress = await backend.get_progress(task_id)
    if progress is None:
        return None
    if not await backend.is_result_ready(task_id):
        return TaskStatus(id=task_id, status=progress.state)
    result = await backend.get_result(task_id)
    if result.is_err:
        return TaskStatus(id=task_id, status="failed", result=FAILED)
    return TaskStatus(id=task_id, status="done", result=result.return_value)
