"""The status of a task."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

FAILED = "The task failed"

Status = Literal["pending", "running", "done", "failed"]

_to_json = TypeAdapter(Any).dump_json


class TaskStatus(BaseModel):
    """The status of a task. `result`: what a finished task returned, or that it failed."""

    id: str
    status: Status
    result: Any = None


@dataclass(frozen=True)
class TaskRecord:
    """What is kept of a task. `owner`: the user who may read it; `""` is the anonymous user.

    A task without a request, such as a scheduled one, has no owner, and no user can read it.
    """

    status: TaskStatus
    owner: str | None


def dump_bounded(value: object, limit: int) -> bytes:
    """Return `value` as JSON; raise ValueError if it does not fit into JSON, or into `limit` bytes."""
    data = _to_json(value)
    if len(data) > limit:
        raise ValueError(f"{len(data)} bytes are more than TASK_MAX_SIZE ({limit})")
    return data
