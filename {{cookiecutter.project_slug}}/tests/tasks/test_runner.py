import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException
from fastapi.testclient import TestClient
from starlette.authentication import SimpleUser, UnauthenticatedUser
from starlette.requests import Request

from app.core.logging import JSONFormatter, context
from app.tasks import TaskContext
from app.tasks.errors import InvalidArguments, QueueFull
from app.tasks.runner import TaskRunner, TaskSettings, lifespan
from app.tasks.status import TaskStatus

pytestmark = pytest.mark.anyio


def make_request(user: str = "") -> Request:
    return Request({"type": "http", "user": SimpleUser(user) if user else UnauthenticatedUser()})


async def run(runner: TaskRunner, function: Callable[..., Any], *args: Any) -> str:
    """Do as a response does."""
    background = BackgroundTasks()
    task_id = runner.add(make_request(), background, function, *args)
    assert status(runner, task_id) == "pending"
    await background()
    return task_id


def status(runner: TaskRunner, task_id: str) -> str:
    return runner.records[task_id].status.status


async def end(runner: TaskRunner) -> None:
    """Wait for all tasks."""
    while runner.running:
        await asyncio.gather(*runner.running, return_exceptions=True)


def make_runner(*, capacity: int = 10_000, **settings: Any) -> TaskRunner:
    runner = TaskRunner(TaskSettings(**settings), capacity=capacity)
    runner.context = SimpleNamespace(name="context")  # type: ignore[assignment]
    return runner


async def test_a_task_runs_and_its_result_is_kept() -> None:
    runner, gate = make_runner(), asyncio.Event()

    async def add(one: int, other: int) -> int:
        await gate.wait()
        return one + other

    task_id = await run(runner, add, 1, 2)
    await asyncio.sleep(0)
    assert status(runner, task_id) == "running"
    gate.set()
    await end(runner)
    assert runner.records[task_id].status.model_dump() == {
        "id": task_id,
        "status": "done",
        "result": 3,
    }


async def test_a_plain_function_runs_in_a_thread() -> None:
    def ident() -> int:
        return threading.get_ident()

    runner = make_runner()
    task_id = await run(runner, ident)
    await end(runner)
    assert status(runner, task_id) == "done"
    assert runner.records[task_id].status.result != threading.get_ident()


async def test_a_task_gets_the_context() -> None:
    async def look(context: TaskContext, number: int) -> str:
        return f"{context.name} {number}"  # type: ignore[attr-defined]

    runner = make_runner()
    task_id = await run(runner, look, 7)
    await end(runner)
    assert runner.records[task_id].status.result == "context 7"


async def test_arguments_that_do_not_fit_are_rejected_at_once() -> None:
    async def double(number: int) -> int:
        return 2 * number

    runner = make_runner()
    with pytest.raises(InvalidArguments):
        await run(runner, double, "two")
    assert not runner.records


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_task_that_takes_too_long_fails(
    caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    gate = threading.Event()

    def hang_in_a_thread() -> None:
        gate.wait(60)

    runner = make_runner(task_timeout=0.001)
    task_id = await run(runner, asyncio.Event().wait if is_async else hang_in_a_thread)
    await end(runner)
    gate.set()
    assert status(runner, task_id) == "failed"
    assert "took longer than TASK_TIMEOUT, 0.001 s" in caplog.text


@pytest.mark.parametrize("result", [object(), "x" * 99])
async def test_a_result_that_cannot_be_kept_is_a_failure(result: object) -> None:
    async def make() -> object:
        return result

    runner = make_runner(task_max_size=100)
    task_id = await run(runner, make)
    await end(runner)
    assert status(runner, task_id) == "failed"


async def test_so_many_may_wait() -> None:
    runner, gate = make_runner(task_queue_size=2), asyncio.Event()
    for _ in range(2):
        await run(runner, gate.wait)
    with pytest.raises(QueueFull, match="2 tasks wait"):
        await run(runner, gate.wait)
    gate.set()
    await end(runner)
    await run(runner, gate.wait)
    await end(runner)


async def test_only_its_user_reads_a_task() -> None:
    runner, background = make_runner(), BackgroundTasks()
    task_id = runner.add(make_request("ada"), background, asyncio.sleep, 0)
    seen = [runner.read(make_request(user), task_id) for user in ("ada", "bob", "")]
    assert seen == [TaskStatus(id=task_id, status="pending"), None, None]
    assert runner.read(make_request("ada"), "unknown") is None


async def test_a_failure_is_logged_with_the_request_and_ends_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runner, lines = make_runner(), []

    async def fail() -> None:
        raise ValueError("secret")

    handler = logging.Handler()
    handler.emit = lambda record: lines.append(JSONFormatter().format(record))  # type: ignore[method-assign]
    logging.getLogger("app.tasks.runner").addHandler(handler)
    token = context.set({"request_id": "the-request"})
    failed = await run(runner, fail)
    context.reset(token)
    done = await run(runner, asyncio.sleep, 0)
    await end(runner)
    logging.getLogger("app.tasks.runner").removeHandler(handler)
    assert status(runner, failed) == "failed"
    assert runner.records[failed].status.result == "The task failed"
    assert status(runner, done) == "done"
    (line,) = lines
    assert json.loads(line)["request_id"] == "the-request"
    assert "ValueError: secret" in line


async def test_only_so_many_run_at_a_time() -> None:
    runner, gate = make_runner(task_concurrency=2), asyncio.Event()
    ids = [await run(runner, gate.wait) for _ in range(3)]
    await asyncio.sleep(0)
    assert [status(runner, task_id) for task_id in ids] == ["running", "running", "pending"]
    gate.set()
    await end(runner)
    assert [status(runner, task_id) for task_id in ids] == ["done"] * 3


async def test_statuses_are_bounded() -> None:
    runner = make_runner(capacity=10)
    ids = [await run(runner, asyncio.sleep, 0) for _ in range(30)]
    await end(runner)
    assert list(runner.records) == ids[-10:]


async def test_a_stop_waits_for_tasks() -> None:
    runner, gate = make_runner(), asyncio.Event()
    task_id = await run(runner, gate.wait)
    asyncio.get_running_loop().call_soon(gate.set)
    await runner.stop()
    assert status(runner, task_id) == "done"
    await runner.stop()


async def test_a_stop_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    runner = make_runner(task_shutdown_timeout=0)
    task_id = await run(runner, asyncio.Event().wait)
    await asyncio.sleep(0)
    await runner.stop()
    assert status(runner, task_id) == "failed"
    assert f"{task_id} was cut off by the shutdown" in caplog.text


@pytest.mark.parametrize(
    ("path", "status", "calls"), [("/done", 200, 1), ("/refused", 409, 0), ("/raised", 500, 0)]
)
async def test_a_task_of_a_request_that_fails_does_not_run(
    path: str, status: int, calls: int
) -> None:
    runner, called = make_runner(), list[int]()

    def call(number: int) -> None:
        called.append(number)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await runner.stop()

    app = FastAPI(lifespan=lifespan)

    @app.get("/done")
    async def succeed(request: Request, background: BackgroundTasks) -> None:
        runner.add(request, background, call, 1)

    @app.get("/refused")
    async def refuse(request: Request, background: BackgroundTasks) -> None:
        runner.add(request, background, call, 1)
        raise HTTPException(409)

    @app.get("/raised")
    async def fail(request: Request, background: BackgroundTasks) -> None:
        runner.add(request, background, call, 1)
        raise ZeroDivisionError

    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get(path).status_code == status
    assert len(called) == calls


async def test_a_service_that_stops_waits_for_its_tasks() -> None:
    app = FastAPI()
    app.state.tasks = make_runner()
    app.state.settings, app.state.sessions = TaskSettings(), None
    async with lifespan(app):
        task_id = await run(app.state.tasks, asyncio.sleep, 0)
        assert isinstance(app.state.tasks.context, TaskContext)
    assert status(app.state.tasks, task_id) == "done"
