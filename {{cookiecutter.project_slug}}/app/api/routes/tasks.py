"""Work that workers do."""

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, Field
from redis.exceptions import RedisError

from app.tasks.broker import enqueue, read_status
from app.tasks.jobs import write_message
from app.tasks.status import TaskStatus

router = APIRouter(prefix="/tasks", tags=["tasks"])


class TaskCreate(BaseModel):
    """A message for the task to write."""

    message: str = Field(min_length=1, max_length=1000)


class TaskCreated(BaseModel):
    """The id of a new task."""

    id: str


@router.post("", status_code=202)
async def create_task(body: TaskCreate, request: Request, response: Response) -> TaskCreated:
    """Create a task that writes a message.

    `Location` is the path of its status. Responds with 503 if the queue is full or unavailable.
    """
    task_id = enqueue(request, write_message, body.message)
    path = request.app.url_path_for("read_task", task_id=task_id)
    response.headers["Location"] = request.scope["root_path"] + path
    return TaskCreated(id=task_id)


@router.get("/{task_id}")
async def read_task(task_id: str, request: Request) -> TaskStatus:
    """Read the status of a task that you created.

    Responds with 404 if there is no such task, and with 503 if the queue is unavailable.
    """
    try:
        status = await read_status(request, task_id)
    except (RedisError, TimeoutError) as error:
        raise HTTPException(503, "Try again later", {"Retry-After": "1"}) from error
    if status is None:
        raise HTTPException(404, "Unknown task")
    return status
