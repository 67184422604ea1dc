"""Tasks that run in this process after the answer, and may be lost with it."""

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ParamSpec
from uuid import uuid4

from fastapi import BackgroundTasks, FastAPI
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from app.core.settings import CoreSettings
from app.tasks.status import FAILED, Status, TaskStatus

# Statuses that are remembered: the oldest go first.
CAPACITY = 10_000

P = ParamSpec("P")

logger = logging.getLogger(__name__)


class TaskSettings(CoreSettings):
    """Work after the answer.

    `TASK_CONCURRENCY` (10): tasks that run at a time, the others wait.
    `TASK_SHUTDOWN_TIMEOUT` (8): seconds that a stop waits for tasks before it cuts them off.
    """

    task_concurrency: int = Field(default=10, ge=1)
    task_shutdown_timeout: float = Field(default=8, ge=0)


class TaskRunner:
    """Runs tasks after the answer, and remembers how they went.

    A task starts only after the answer has left, so after the commit, and not at all where an
    exception takes the place of that answer. (It does after an error that the route returns, so
    raise those.) It outlives the request: hand it values, or what
    opens a database session of its own, never something that the request opened.
    """

    def __init__(self, settings: TaskSettings, *, capacity: int = CAPACITY) -> None:
        self.slots = asyncio.Semaphore(settings.task_concurrency)
        self.shutdown_timeout = settings.task_shutdown_timeout
        self.capacity = capacity
        self.statuses: OrderedDict[str, TaskStatus] = OrderedDict()
        self.running: set[asyncio.Task[None]] = set()

    def add(
        self,
        background: BackgroundTasks,
        function: Callable[P, Any],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> str:
        """Call `function` after the answer; return the id of the task."""
        task_id = uuid4().hex
        self.set_status(task_id, "pending")
        background.add_task(self.start, task_id, partial(function, *args, **kwargs))
        return task_id

    async def start(self, task_id: str, call: partial[Any]) -> None:
        # Apart from the request, which would else last as long as its tasks. The context comes
        # along: every log record of the task has the id of the request.
        task = asyncio.create_task(self.run(task_id, call))
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def run(self, task_id: str, call: partial[Any]) -> None:
        name = call.func.__qualname__
        try:
            async with self.slots:
                self.set_status(task_id, "running")
                if inspect.iscoroutinefunction(call.func):
                    result = await call()
                else:
                    result = await run_in_threadpool(call)
        except asyncio.CancelledError:
            self.set_status(task_id, "failed", FAILED)
            logger.error("task %s %s was cut off by the shutdown", name, task_id)
            raise
        except Exception:
            self.set_status(task_id, "failed", FAILED)
            logger.exception("task %s %s failed", name, task_id)
        else:
            self.set_status(task_id, "done", result)

    def set_status(self, task_id: str, status: Status, result: Any = None) -> None:
        self.statuses[task_id] = TaskStatus(id=task_id, status=status, result=result)
        self.statuses.move_to_end(task_id)
        if len(self.statuses) > self.capacity:
            self.statuses.popitem(last=False)

    async def stop(self) -> None:
        """Wait for the tasks, though not for ever."""
        if self.running:
            logger.info("waiting for %d tasks", len(self.running))
            _, left = await asyncio.wait(self.running, timeout=self.shutdown_timeout)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Let the tasks of `app` finish when the service stops."""
    try:
        yield
    finally:
        await app.state.tasks.stop()
