"""Work that is done after the answer, in this process."""

from fastapi import APIRouter, BackgroundTasks, HTTPException, Request, Response
from pydantic import BaseModel, Field

from app.tasks.jobs import write_message
from app.tasks.runner import TaskRunner
from app.tasks.status import TaskStatus

router = APIRouter(prefix="/tasks", tags=["tasks"])


class TaskCreate(BaseModel):
    """What the task is to write."""

    message: str = Field(min_length=1, max_length=1000)


class TaskCreated(BaseModel):
    """The id to ask for."""

    id: str


@router.post("", status_code=202)
async def create_task(
    body: TaskCreate, request: Request, response: Response, background: BackgroundTasks
) -> TaskCreated:
    """Write a message, after this is answered."""
    runner: TaskRunner = request.app.state.tasks
    task_id = runner.add(background, write_message, body.message)
    path = request.app.url_path_for("read_task", task_id=task_id)
    response.headers["Location"] = request.scope["root_path"] + path
    return TaskCreated(id=task_id)


@router.get("/{task_id}")
async def read_task(task_id: str, request: Request) -> TaskStatus:
    """Say how far a task is."""
    runner: TaskRunner = request.app.state.tasks
    if status := runner.statuses.get(task_id):
        return status
    raise HTTPException(404, "Unknown task")
