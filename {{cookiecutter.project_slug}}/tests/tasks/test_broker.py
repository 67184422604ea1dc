import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from redis.exceptions import ConnectionError
from taskiq import AsyncBroker, InMemoryBroker, TaskiqResult

from app.core.logging import JSONFormatter, context
from app.tasks.broker import TASKS, TaskSettings, create_broker, enqueue, read_status
from app.tasks.jobs import write_message
from app.tasks.middleware import RetryMiddleware
from app.tasks.status import TaskStatus
from app.tasks.streams import StreamBroker

pytestmark = pytest.mark.anyio

logger = logging.getLogger(__name__)

Run = Callable[..., Any]


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Run]:
    """Return a function that has a task done, and returns what is known of it."""
    broker = create_broker(TaskSettings(task_retry_delay=0, **settings))
    assert isinstance(broker, InMemoryBroker)
    await broker.startup()

    async def run(function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        state = SimpleNamespace(after_commit=[])
        app = SimpleNamespace(state=SimpleNamespace(broker=broker))
        task_id = enqueue(SimpleNamespace(app=app, state=state), function, *args)  # type: ignore[arg-type]
        assert await read_status(broker, task_id) is None
        (send,) = state.after_commit
        await send()
        await end(broker)
        status = await read_status(broker, task_id)
        assert status
        return status.model_dump(exclude={"id"})

    yield run
    await broker.shutdown()


async def end(broker: InMemoryBroker) -> None:
    """Wait for all tasks, and for those that they send."""
    while broker._running_tasks:
        await asyncio.wait(broker._running_tasks)


def add(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any]) -> None:
    monkeypatch.setitem(TASKS, function.__name__, function)


async def test_a_task_is_sent_when_it_is_time_and_done() -> None:
    async with running() as run:
        assert await run(write_message, "hello") == {"status": "done", "result": 5}


async def test_an_unknown_function_is_a_mistake() -> None:
    async with running() as run:
        with pytest.raises(KeyError):
            await run(print)


async def test_an_unknown_task() -> None:
    assert await read_status(create_broker(TaskSettings()), "unknown") is None


async def test_a_task_that_runs_is_seen_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    async def look(task_id: str) -> None:
        seen.append(await read_status(broker, context.get()["task_id"]))

    add(monkeypatch, look)
    broker = create_broker(TaskSettings())
    assert isinstance(broker, InMemoryBroker)
    await broker.local_task_registry["look"].kicker().kiq("")
    await broker.wait_all()
    assert [status.status for status in seen] == ["running"]


@pytest.mark.parametrize(("failures", "status"), [(1, "done"), (3, "done"), (4, "failed")])
async def test_a_task_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, failures: int, status: str
) -> None:
    tries: list[int] = []

    async def stumble() -> str:
        tries.append(1)
        if len(tries) <= failures:
            raise ValueError("secret")
        return "fine"

    add(monkeypatch, stumble)
    async with running() as run:
        task = await run(stumble)
    assert task == {"status": status, "result": "fine" if status == "done" else "The task failed"}
    assert len(tries) == min(failures + 1, 4)


async def test_a_try_that_is_not_the_last_leaves_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    async def stumble() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ValueError

    add(monkeypatch, stumble)
    broker = create_broker(TaskSettings(task_retry_delay=0))
    assert isinstance(broker, InMemoryBroker)
    set_result = AsyncMock()
    monkeypatch.setattr(broker.result_backend, "set_result", set_result)
    await broker.local_task_registry["stumble"].kicker().kiq()
    await end(broker)
    assert len(tries) == 3
    assert set_result.await_count == 1


async def test_the_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def fail() -> None:
        raise ValueError

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    add(monkeypatch, fail)
    monkeypatch.setattr("app.tasks.middleware.asyncio", SimpleNamespace(sleep=sleep))
    broker = create_broker(TaskSettings(task_retries=10, task_retry_delay=1))
    assert isinstance(broker, InMemoryBroker)
    await broker.local_task_registry["fail"].kicker().kiq()
    await end(broker)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]


async def test_a_task_that_takes_too_long_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    add(monkeypatch, hang)
    async with running(task_timeout=0.001, task_retries=0) as run:
        assert (await run(hang))["status"] == "failed"


async def test_a_result_that_does_not_fit_into_json_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def make() -> object:
        return object()

    add(monkeypatch, make)
    async with running() as run:
        assert await run(make) == {"status": "failed", "result": "The task failed"}


async def test_log_records_carry_the_request_and_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []

    async def log() -> None:
        logger.warning("at work")
        if len(lines) < 2:
            raise ValueError

    handler = logging.Handler()
    handler.emit = lambda record: lines.append(json.loads(JSONFormatter().format(record)))  # type: ignore[method-assign]
    logger.addHandler(handler)
    add(monkeypatch, log)
    token = context.set({"request_id": "the-request"})
    try:
        async with running() as run:
            await run(log)
    finally:
        context.reset(token)
        logger.removeHandler(handler)
    assert [line["request_id"] for line in lines] == ["the-request"] * 2
    assert len({line["task_id"] for line in lines}) == 1


async def test_without_a_request_there_is_no_request_id() -> None:
    async with running() as run:
        assert (await run(write_message, "hello"))["status"] == "done"


async def test_with_a_redis_the_queue_is_a_stream() -> None:
    broker = create_broker(TaskSettings(redis_url="redis://127.0.0.1:1/0"))
    assert isinstance(broker, StreamBroker)
    assert any(isinstance(middleware, RetryMiddleware) for middleware in broker.middlewares)
    # Starts although nobody answers there.
    await broker.startup()
    with pytest.raises(ConnectionError):
        await read_status(broker, "unknown")
    await broker.shutdown()


def test_without_its_redis_the_service_promises_nothing(
    make_client: Callable[..., TestClient],
) -> None:
    client = make_client(redis_url="redis://127.0.0.1:1/0")
    for response in (client.post("/tasks", json={"message": "hello"}), client.get("/tasks/any")):
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "1"
        assert response.json()["error"]["type"] == "service_unavailable"


@pytest.mark.server
async def test_statuses_on_a_real_redis(redis_url: str) -> None:
    broker: AsyncBroker = create_broker(TaskSettings(redis_url=redis_url, task_result_ttl=5))
    broker.kick = AsyncMock()  # type: ignore[method-assign]
    task = await broker.local_task_registry["write_message"].kicker().kiq("hello")
    status = await read_status(broker, task.task_id)
    assert status and status.status == "pending"
    result: Any = TaskiqResult(is_err=False, return_value=5, execution_time=0)
    await broker.result_backend.set_result(task.task_id, result)
    assert await read_status(broker, task.task_id) == TaskStatus(
        id=task.task_id, status="done", result=5
    )
    await broker.shutdown()


@pytest.mark.parametrize(
    ("url", "risks"),
    [
        ("redis://127.0.0.1:6379/0", []),
        ("", ["REDIS_URL: tasks are lost with the process: set it, and start workers"]),
    ],
)
def test_tasks_that_only_this_process_has_are_a_risk(url: str, risks: list[str]) -> None:
    assert list(TaskSettings(redis_url=SecretStr(url)).risks()) == risks
