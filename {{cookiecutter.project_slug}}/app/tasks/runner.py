"""Tasks that run in this process after the response, and may be lost with it."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Concatenate, ParamSpec, overload
from uuid import uuid4

from fastapi import BackgroundTasks, FastAPI
from pydantic import Field
from starlette.requests import Request

from app.core.settings import CoreSettings
from app.tasks import TaskContext, create_context
from app.tasks.errors import QueueFull
from app.tasks.job import Arguments, Job
from app.tasks.owner import find_owner
from app.tasks.status import FAILED, Status, TaskRecord, TaskStatus, dump_bounded

# Records that are kept: the oldest go first.
CAPACITY = 10_000

P = ParamSpec("P")

logger = logging.getLogger(__name__)


class TaskSettings(CoreSettings):
    """Work after the response.

    `TASK_CONCURRENCY` (10): tasks that run at the same time; the others wait.
    `TASK_TIMEOUT` (300): seconds after which a task is ended.
    `TASK_QUEUE_SIZE` (1000): tasks that may wait or run. With more, a request for one gets a 503.
    `TASK_MAX_SIZE` (65536): the largest arguments and the largest result of a task, in bytes of
    JSON.
    `TASK_SHUTDOWN_TIMEOUT` (8): seconds that the service waits for its tasks when it is stopped.
    """

    task_concurrency: int = Field(default=10, ge=1)
    task_timeout: float = Field(default=300, gt=0)
    task_queue_size: int = Field(default=1000, ge=1)
    task_max_size: int = Field(default=65_536, ge=1)
    task_shutdown_timeout: float = Field(default=8, ge=0)


class TaskRunner:
    """Runs tasks after the response, and keeps a record of each.

    A task starts after the response was sent, and so after the commit; it does not start if an
    exception takes the place of that response. (It does after an error that the route returns, so
    raise those.) It outlives the request: pass values to it, or let it open what it needs from its
    TaskContext, never something that the request opened.
    """

    def __init__(self, settings: TaskSettings, *, capacity: int = CAPACITY) -> None:
        self.settings = settings
        self.slots = asyncio.Semaphore(settings.task_concurrency)
        self.capacity = capacity
        self.records: OrderedDict[str, TaskRecord] = OrderedDict()
        self.running: set[asyncio.Task[None]] = set()
        # Set when the service starts.
        self.context: TaskContext

    @overload
    def add(
        self,
        request: Request,
        background: BackgroundTasks,
        function: Callable[Concatenate[TaskContext, P], Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> str: ...

    @overload
    def add(
        self,
        request: Request,
        background: BackgroundTasks,
        function: Callable[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> str: ...

    def add(
        self,
        request: Request,
        background: BackgroundTasks,
        function: Callable[..., Any],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> str:
        """Call `function` after the response; return the id of the task.

        Raises QueueFull, or InvalidArguments if the arguments do not fit the function.
        """
        if len(self.running) >= self.settings.task_queue_size:
            raise QueueFull(f"{len(self.running)} tasks wait (TASK_QUEUE_SIZE)")
        job = Job(function)
        job.validate(args, kwargs)
        task_id, owner = uuid4().hex, find_owner(request)
        self.write(task_id, owner, "pending")
        background.add_task(self.start, task_id, owner, job, (args, kwargs))
        return task_id

    async def start(self, task_id: str, owner: str, job: Job, arguments: Arguments) -> None:
        # Apart from the request, which would else last as long as its tasks. The context comes
        # along: every log record of the task has the id of the request.
        task = asyncio.create_task(self.run(task_id, owner, job, arguments))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def run(self, task_id: str, owner: str, job: Job, arguments: Arguments) -> None:
        args, kwargs = arguments
        try:
            async with self.slots:
                self.write(task_id, owner, "running")
                limit = self.settings.task_timeout
                result = await job.run(self.context, args, kwargs, limit=limit)
            dump_bounded(result, self.settings.task_max_size)
        except asyncio.CancelledError:
            self.write(task_id, owner, "failed", FAILED)
            logger.error("task %s %s was cut off by the shutdown", job.name, task_id)
            raise
        except Exception:
            self.write(task_id, owner, "failed", FAILED)
            logger.exception("task %s %s failed", job.name, task_id)
        else:
            self.write(task_id, owner, "done", result)

    def write(self, task_id: str, owner: str, status: Status, result: Any = None) -> None:
        self.records[task_id] = TaskRecord(
            TaskStatus(id=task_id, status=status, result=result), owner
        )
        self.records.move_to_end(task_id)
        if len(self.records) > self.capacity:
            self.records.popitem(last=False)

    def read(self, request: Request, task_id: str) -> TaskStatus | None:
        """Return the status of a task that the user of this request asked for."""
        record = self.records.get(task_id)
        if record is None or record.owner != find_owner(request):
            return None
        return record.status

    async def stop(self) -> None:
        """Wait for the tasks, for a limited time."""
        if self.running:
            logger.info("waiting for %d tasks", len(self.running))
            _, left = await asyncio.wait(self.running, timeout=self.settings.task_shutdown_timeout)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Give tasks their context, and let them finish when the service stops."""
    app.state.tasks.context = create_context(app)
    try:
        yield
    finally:
        await app.state.tasks.stop()
