"""What is kept of tasks."""

from abc import abstractmethod
from typing import Any

from taskiq import AsyncResultBackend, TaskiqResult

from app.tasks.status import TaskRecord

FINISHED = ("done", "failed")


class TaskResults(AsyncResultBackend[Any]):
    """Keeps a record of each task: who may read it, how far it is, and what it returned."""

    @abstractmethod
    async def begin(self, task_id: str, owner: str | None) -> bool:
        """Call a task running, and return True; or return False if it has finished already."""

    @abstractmethod
    async def read(self, task_id: str) -> TaskRecord | None:
        """Return the record of a task, if there is one."""

    async def is_result_ready(self, task_id: str) -> bool:
        """Return whether a task has finished."""
        record = await self.read(task_id)
        return record is not None and record.status.status in FINISHED

    async def get_result(self, task_id: str, with_logs: bool = False) -> TaskiqResult[Any]:
        """Return what a task that has finished returned."""
        record = await self.read(task_id)
        if record is None or record.status.status not in FINISHED:
            raise KeyError(task_id)
        is_err = record.status.status == "failed"
        value = None if is_err else record.status.result
        return TaskiqResult(is_err=is_err, return_value=value, execution_time=0)
