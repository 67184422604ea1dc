"""Work that is done after the response, in this process."""

from fastapi import APIRouter, BackgroundTasks, HTTPException, Request, Response
from pydantic import BaseModel, Field

from app.tasks.errors import QueueFull
from app.tasks.jobs import write_message
from app.tasks.runner import TaskRunner
from app.tasks.status import TaskStatus

router = APIRouter(prefix="/tasks", tags=["tasks"])


class TaskCreate(BaseModel):
    """A message for the task to write."""

    message: str = Field(min_length=1, max_length=1000)


class TaskCreated(BaseModel):
    """The id of a new task."""

    id: str


@router.post("", status_code=202)
async def create_task(
    body: TaskCreate, request: Request, response: Response, background: BackgroundTasks
) -> TaskCreated:
    """Create a task that writes a message.

    `Location` is the path of its status. Responds with 503 if too many tasks wait.
    """
    runner: TaskRunner = request.app.state.tasks
    try:
        task_id = runner.add(request, background, write_message, body.message)
    except QueueFull as error:
        raise HTTPException(503, "Try again later", {"Retry-After": "1"}) from error
    path = request.app.url_path_for("read_task", task_id=task_id)
    response.headers["Location"] = request.scope["root_path"] + path
    return TaskCreated(id=task_id)


@router.get("/{task_id}")
async def read_task(task_id: str, request: Request) -> TaskStatus:
    """Read the status of a task that you created. Responds with 404 if there is no such task."""
    runner: TaskRunner = request.app.state.tasks
    if status := runner.read(request, task_id):
        return status
    raise HTTPException(404, "Unknown task")
