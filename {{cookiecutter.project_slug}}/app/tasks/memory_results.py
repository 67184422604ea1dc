"""Records of tasks in memory."""

from collections import OrderedDict
from typing import Any

from taskiq import TaskiqResult

from app.tasks.results import TaskResults
from app.tasks.status import FAILED, Status, TaskRecord, TaskStatus


class MemoryResults(TaskResults):
    """Records of this process: `capacity` at most, and the oldest go first."""

    def __init__(self, *, capacity: int) -> None:
        self.capacity = capacity
        self.records: OrderedDict[str, TaskRecord] = OrderedDict()

    def write(self, task_id: str, owner: str | None, status: Status, result: Any = None) -> None:
        """Keep a record."""
        self.records[task_id] = TaskRecord(
            TaskStatus(id=task_id, status=status, result=result), owner
        )
        self.records.move_to_end(task_id)
        if len(self.records) > self.capacity:
            self.records.popitem(last=False)

    async def begin(self, task_id: str, owner: str | None) -> bool:
        """Call a task running. One in memory runs once, so that it has never finished."""
        self.write(task_id, owner, "running")
        return True

    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        """Keep what a task returned, or that it failed."""
        owner = result.labels.get("owner")
        if result.is_err:
            self.write(task_id, owner, "failed", FAILED)
        else:
            self.write(task_id, owner, "done", result.return_value)

    async def read(self, task_id: str) -> TaskRecord | None:
        """Return the record of a task, if there is one."""
        return self.records.get(task_id)
