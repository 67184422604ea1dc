"""What is known of a task."""

from typing import Any, Literal

from pydantic import BaseModel

FAILED = "The task failed"

Status = Literal["pending", "running", "done", "failed"]


class TaskStatus(BaseModel):
    """How far a task is. `result`: what it returned, or that it failed; the log says why."""

    id: str
    status: Status
    result: Any = None
