"""Tasks that workers run, and that are not lost: on Redis, or in this process without one."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Any, Concatenate, ParamSpec, overload

import anyio
from fastapi import FastAPI, HTTPException
from pydantic import Field
from redis.asyncio import Redis
from starlette.requests import Request
from taskiq import AsyncBroker, TaskiqEvents, TaskiqState
from taskiq.exceptions import SendTaskError

from app.core.redis import RedisSettings, explain
from app.tasks import TaskContext, create_context
from app.tasks.cancel import cancel
from app.tasks.job import Job
from app.tasks.memory_broker import MemoryBroker
from app.tasks.memory_results import MemoryResults
from app.tasks.middleware import RetryMiddleware, StatusMiddleware
from app.tasks.owner import find_owner
from app.tasks.redis_results import RedisResults
from app.tasks.registry import SCHEDULES, TASKS
from app.tasks.scheduler import MINUTE, Scheduler
from app.tasks.status import TaskStatus, dump_bounded
from app.tasks.streams import StreamBroker

# Seconds that a request waits for the queue.
PATIENCE = 2.0
# Records that are kept in memory where there is no Redis.
CAPACITY = 10_000

P = ParamSpec("P")

logger = logging.getLogger(__name__)


class TaskSettings(RedisSettings):
    """Work that is handed to workers.

    `TASK_RETRIES` (3): how often a failed task is tried again.
    `TASK_RETRY_DELAY` (1): seconds before the first retry; each further one waits twice as long.
    `TASK_TIMEOUT` (300): seconds after which a task is ended.
    `TASK_QUEUE_SIZE` (100000): tasks that may wait. With more, a request for one gets a 503.
    `TASK_MAX_SIZE` (65536): the largest arguments and the largest result of a task, in bytes of
    JSON.
    `TASK_RESULT_TTL` (86400): seconds for which the status of a task is kept.
    `TASK_SHUTDOWN_TIMEOUT` (20): seconds that a worker waits for its tasks when it is stopped.
    """

    task_retries: int = Field(default=3, ge=0)
    task_retry_delay: float = Field(default=1, ge=0)
    task_timeout: float = Field(default=300, gt=0)
    task_queue_size: int = Field(default=100_000, ge=1)
    task_max_size: int = Field(default=65_536, ge=1)
    task_result_ttl: int = Field(default=86400, ge=1)
    task_shutdown_timeout: float = Field(default=20, ge=0)

    def risks(self) -> Iterator[str]:
        if not self.redis_url:
            yield "REDIS_URL: tasks are lost with the process: set it, and start workers"
        yield from super().risks()


def create_broker(settings: TaskSettings, redis: Redis | None) -> AsyncBroker:
    """Return the queue: a stream on `redis` for workers, or without one this process itself.

    `broker.state.context`, the TaskContext, has to be set before a task runs. `broker.state.watch`
    returns what encloses each task, given its name.
    """
    broker: StreamBroker | MemoryBroker
    if redis:
        shared = RedisResults(redis, ttl=settings.task_result_ttl)
        broker = StreamBroker(redis, shared, limit=settings.task_queue_size)
    else:
        own = MemoryResults(capacity=CAPACITY)
        limit, stop_timeout = settings.task_queue_size, settings.task_shutdown_timeout
        broker = MemoryBroker(own, limit=limit, stop_timeout=stop_timeout)
    broker.add_middlewares(
        StatusMiddleware(broker.results, max_size=settings.task_max_size),
        RetryMiddleware(retries=settings.task_retries, delay=settings.task_retry_delay),
    )
    broker.state.jobs, broker.state.watch = {}, nullcontext
    for name, function in TASKS.items():
        _register(broker, name, function, settings.task_timeout)
    _add_scheduler(broker, is_shared=redis is not None)
    return broker


def _register(broker: AsyncBroker, name: str, function: Callable[..., Any], limit: float) -> None:
    job = broker.state.jobs[function] = Job(function)

    async def run(*args: Any, **kwargs: Any) -> Any:
        context: TaskContext = broker.state.context
        watch = partial(broker.state.watch, job.name)
        return await job.run(context, args, kwargs, limit=limit, watch=watch)

    broker.register_task(run, name)


def _add_scheduler(broker: AsyncBroker, *, is_shared: bool) -> None:
    """Let the processes that run tasks send the scheduled ones, too."""
    names = {function: name for name, function in TASKS.items()}
    schedules = []
    for schedule in SCHEDULES:
        broker.state.jobs[schedule.function].pack(schedule.args, schedule.kwargs)
        schedules.append((names[schedule.function], schedule))

    async def start(state: TaskiqState) -> None:
        # A shared queue knows what was sent for this minute, before a restart. This process does
        # not, and begins with the next one.
        now = datetime.now(UTC) - MINUTE if is_shared else datetime.now(UTC)
        state.scheduler = asyncio.create_task(Scheduler(broker, schedules, now=now).run())

    async def stop(state: TaskiqState) -> None:
        await cancel(state.scheduler)

    if schedules:
        broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, start)
        broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, stop)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Give tasks their context, and hold the queue while the application runs."""
    broker: AsyncBroker = app.state.broker
    broker.state.context = create_context(app)
    if broker.is_worker_process:
        # taskiq starts and stops it, and this with it.
        yield
        return
    await broker.startup()
    try:
        yield
    finally:
        await broker.shutdown()


@overload
def enqueue(
    request: Request,
    function: Callable[Concatenate[TaskContext, P], Any],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> str: ...


@overload
def enqueue(
    request: Request, function: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs
) -> str: ...


def enqueue(request: Request, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> str:
    """Have a worker call `function` if this request succeeds; return the id of the task.

    A worker may run a task twice, if it dies before the task is acknowledged: write tasks that may
    run twice. Raises KeyError if `function` is not one of `TASKS`, InvalidArguments if the
    arguments do not fit it, and ValueError if they are too large.
    """
    broker: AsyncBroker = request.app.state.broker
    settings: TaskSettings = request.app.state.settings
    job: Job = broker.state.jobs[function]
    packed_args, packed_kwargs = job.pack(args, kwargs)
    dump_bounded([packed_args, packed_kwargs], settings.task_max_size)
    names = {function: name for name, function in TASKS.items()}
    task_id = broker.id_generator()
    kicker = broker.local_task_registry[names[function]].kicker().with_task_id(task_id)
    kicker = kicker.with_labels(owner=find_owner(request))
    send = partial(kicker.kiq, *packed_args, **packed_kwargs)
    request.state.after_commit.append(partial(_send, send))
    return task_id


async def _send(send: Callable[[], Awaitable[object]]) -> None:
    try:
        with anyio.fail_after(PATIENCE):
            await send()
    except (SendTaskError, TimeoutError) as error:
        # A line, and no traceback: while Redis is unavailable, each request says so.
        logger.error("a task could not be sent: %s", explain(error.__cause__ or error))
        raise HTTPException(503, "Try again later", {"Retry-After": "1"}) from error


async def read_status(request: Request, task_id: str) -> TaskStatus | None:
    """Return the status of a task that the user of this request asked for, or None.

    Raises RedisError or TimeoutError if Redis is unavailable.
    """
    broker: StreamBroker | MemoryBroker = request.app.state.broker
    with anyio.fail_after(PATIENCE):
        record = await broker.results.read(task_id)
    if record is None or record.owner != find_owner(request):
        return None
    return record.status
