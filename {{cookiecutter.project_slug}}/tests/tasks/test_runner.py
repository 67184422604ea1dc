import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException
from fastapi.testclient import TestClient

from app.core.logging import JSONFormatter, context
from app.tasks.runner import TaskRunner, TaskSettings, lifespan

pytestmark = pytest.mark.anyio


async def run(runner: TaskRunner, function: Callable[..., Any], *args: Any) -> str:
    """Do as an answer does."""
    background = BackgroundTasks()
    task_id = runner.add(background, function, *args)
    assert runner.statuses[task_id].status == "pending"
    await background()
    return task_id


async def end(runner: TaskRunner) -> None:
    """Wait for all tasks."""
    while runner.running:
        await asyncio.gather(*runner.running, return_exceptions=True)


def make_runner(**settings: Any) -> TaskRunner:
    return TaskRunner(TaskSettings(**settings))


async def test_a_task_runs_and_its_result_is_kept() -> None:
    runner, gate = make_runner(), asyncio.Event()

    async def add(one: int, other: int) -> int:
        await gate.wait()
        return one + other

    task_id = await run(runner, add, 1, 2)
    await asyncio.sleep(0)
    assert runner.statuses[task_id].status == "running"
    gate.set()
    await end(runner)
    assert runner.statuses[task_id].model_dump() == {
        "id": task_id,
        "status": "done",
        "result": 3,
    }


async def test_a_plain_function_runs_in_a_thread() -> None:
    runner = make_runner()
    task_id = await run(runner, threading.get_ident)
    await end(runner)
    assert runner.statuses[task_id].status == "done"
    assert runner.statuses[task_id].result != threading.get_ident()


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
    assert runner.statuses[failed].status == "failed"
    assert runner.statuses[failed].result == "The task failed"
    assert runner.statuses[done].status == "done"
    (line,) = lines
    assert json.loads(line)["request_id"] == "the-request"
    assert "ValueError: secret" in line


async def test_only_so_many_run_at_a_time() -> None:
    runner, gate = make_runner(task_concurrency=2), asyncio.Event()
    ids = [await run(runner, gate.wait) for _ in range(3)]
    await asyncio.sleep(0)
    assert [runner.statuses[task_id].status for task_id in ids] == ["running", "running", "pending"]
    gate.set()
    await end(runner)
    assert [runner.statuses[task_id].status for task_id in ids] == ["done"] * 3


async def test_statuses_are_bounded() -> None:
    runner = TaskRunner(TaskSettings(), capacity=10)
    ids = [await run(runner, asyncio.sleep, 0) for _ in range(30)]
    await end(runner)
    assert list(runner.statuses) == ids[-10:]


async def test_a_stop_waits_for_tasks() -> None:
    runner, gate = make_runner(), asyncio.Event()
    task_id = await run(runner, gate.wait)
    asyncio.get_running_loop().call_soon(gate.set)
    await runner.stop()
    assert runner.statuses[task_id].status == "done"
    await runner.stop()


async def test_a_stop_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    runner = make_runner(task_shutdown_timeout=0)
    task_id = await run(runner, asyncio.Event().wait)
    await asyncio.sleep(0)
    await runner.stop()
    assert runner.statuses[task_id].status == "failed"
    assert f"{task_id} was cut off by the shutdown" in caplog.text


@pytest.mark.parametrize(
    ("path", "status", "calls"), [("/done", 200, 1), ("/refused", 409, 0), ("/raised", 500, 0)]
)
async def test_a_task_of_a_request_that_fails_does_not_run(
    path: str, status: int, calls: int
) -> None:
    runner, called = make_runner(), list[int]()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await runner.stop()

    app = FastAPI(lifespan=lifespan)

    @app.get("/done")
    async def succeed(background: BackgroundTasks) -> None:
        runner.add(background, called.append, 1)

    @app.get("/refused")
    async def refuse(background: BackgroundTasks) -> None:
        runner.add(background, called.append, 1)
        raise HTTPException(409)

    @app.get("/raised")
    async def fail(background: BackgroundTasks) -> None:
        runner.add(background, called.append, 1)
        raise ZeroDivisionError

    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get(path).status_code == status
    assert len(called) == calls


async def test_a_service_that_stops_waits_for_its_tasks() -> None:
    app = FastAPI()
    app.state.tasks = make_runner()
    async with lifespan(app):
        task_id = await run(app.state.tasks, asyncio.sleep, 0)
    assert app.state.tasks.statuses[task_id].status == "done"
