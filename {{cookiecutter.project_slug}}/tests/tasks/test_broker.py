import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import anyio
import pytest
from fakeredis import FakeAsyncRedis
from fastapi.testclient import TestClient
from pydantic import SecretStr
from redis.exceptions import ConnectionError, OutOfMemoryError
from starlette.authentication import SimpleUser
from starlette.exceptions import HTTPException
from taskiq import TaskiqResult

from app.core.logging import JSONFormatter, context
from app.core.redis import connect
from app.tasks import TaskContext
from app.tasks import broker as module
from app.tasks.broker import TaskSettings, create_broker, enqueue, read_status
from app.tasks.errors import InvalidArguments
from app.tasks.jobs import write_message
from app.tasks.memory_broker import MemoryBroker
from app.tasks.memory_results import MemoryResults
from app.tasks.middleware import RetryMiddleware
from app.tasks.registry import SCHEDULES, TASKS
from app.tasks.schedule import Schedule
from app.tasks.scheduler import Scheduler
from app.tasks.status import TaskStatus
from app.tasks.streams import StreamBroker

pytestmark = pytest.mark.anyio

logger = logging.getLogger(__name__)

Run = Callable[..., Any]


def make_broker(**settings: Any) -> MemoryBroker:
    broker = create_broker(TaskSettings(**{"task_retry_delay": 0} | settings), None)
    assert isinstance(broker, MemoryBroker)
    broker.state.context = SimpleNamespace()
    return broker


def make_request(broker: Any, user: str = "", **settings: Any) -> Any:
    state = SimpleNamespace(broker=broker, settings=TaskSettings(**settings))
    return SimpleNamespace(
        app=SimpleNamespace(state=state),
        state=SimpleNamespace(after_commit=[]),
        scope={"user": User(user)} if user else {},
    )


class User(SimpleUser):
    @property
    def identity(self) -> str:
        return self.username


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Run]:
    """Return a function that has a task done, and returns what is known of it."""
    broker = make_broker(**settings)
    await broker.startup()

    async def run(function: Callable[..., Any], *args: Any) -> dict[str, Any]:
        request = make_request(broker, **settings)
        task_id = enqueue(request, function, *args)
        assert await read_status(request, task_id) is None
        (send,) = request.state.after_commit
        await send()
        await broker.wait_all()
        status = await read_status(request, task_id)
        assert status
        return status.model_dump(exclude={"id"})

    yield run
    await broker.shutdown()


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
    assert await read_status(make_request(make_broker()), "unknown") is None


async def test_a_task_that_runs_is_seen_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    async def look(task_id: str) -> None:
        seen.append(await broker.results.read(context.get()["task_id"]))

    add(monkeypatch, look)
    broker = make_broker()
    await broker.local_task_registry["look"].kicker().kiq("")
    await broker.wait_all()
    assert [record.status.status for record in seen] == ["running"]


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
    broker = make_broker()
    set_result = AsyncMock()
    monkeypatch.setattr(broker.result_backend, "set_result", set_result)
    await broker.local_task_registry["stumble"].kicker().kiq()
    await broker.wait_all()
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
    broker = make_broker(task_retries=10, task_retry_delay=1)
    await broker.local_task_registry["fail"].kicker().kiq()
    await broker.wait_all()
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_task_that_takes_too_long_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    gate = threading.Event()

    async def hang() -> None:
        await anyio.sleep_forever()

    def hang_in_a_thread() -> None:
        gate.wait(60)

    function = hang if is_async else hang_in_a_thread
    add(monkeypatch, function)
    async with running(task_timeout=0.001, task_retries=0) as run:
        assert (await run(function))["status"] == "failed"
    gate.set()
    assert "took longer than TASK_TIMEOUT, 0.001 s" in caplog.text


async def test_what_runs_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[str] = []

    @contextmanager
    def watch(name: str) -> Any:
        watched.append(f"{name} begins")
        yield
        watched.append(f"{name} ends")

    broker = make_broker()
    broker.state.watch = watch
    await broker.local_task_registry["write_message"].kicker().kiq("hello")
    await broker.wait_all()
    assert watched == ["write_message begins", "write_message ends"]


async def test_arguments_that_do_not_fit_are_refused_before_the_commit() -> None:
    request = make_request(make_broker())
    with pytest.raises(InvalidArguments, match="message: Input should be a valid string"):
        enqueue(request, write_message, 5)  # type: ignore[call-overload]
    assert request.state.after_commit == []


async def test_arguments_that_do_not_fit_fail_for_good(caplog: pytest.LogCaptureFixture) -> None:
    broker = make_broker()
    task = await broker.local_task_registry["write_message"].kicker().kiq(5)
    await broker.wait_all()
    record = await broker.results.read(task.task_id)
    assert record and record.status.status == "failed"
    assert "failed for good, tries: 1" in caplog.text
    assert "Input should be a valid string" in caplog.text


async def test_arguments_and_results_are_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def repeat(text: str, times: int) -> str:
        return text * times

    add(monkeypatch, repeat)
    broker = make_broker(task_max_size=100)
    with pytest.raises(ValueError, match=r"111 bytes are more than TASK_MAX_SIZE \(100\)"):
        enqueue(make_request(broker, task_max_size=100), repeat, "x" * 100, 1)
    async with running(task_max_size=100) as run:
        assert (await run(repeat, "x", 98))["status"] == "done"
        assert (await run(repeat, "x", 99))["status"] == "failed"
    assert "101 bytes are more than TASK_MAX_SIZE" in caplog.text


async def test_a_task_gets_the_context_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(context: TaskContext, number: int) -> str:
        return f"{context.settings.log_level} {number}"

    look.__annotations__["context"] = TaskContext
    add(monkeypatch, look)
    broker = make_broker()
    broker.state.context = SimpleNamespace(settings=TaskSettings(log_level="ERROR"))
    task = await broker.local_task_registry["look"].kicker().kiq(7)
    await broker.wait_all()
    record = await broker.results.read(task.task_id)
    assert record and record.status.result == "ERROR 7"


async def test_only_its_user_reads_a_task() -> None:
    broker = make_broker()
    ada, bob, nobody = [make_request(broker, user) for user in ("ada", "bob", "")]
    task_id = enqueue(ada, write_message, "hello")
    await ada.state.after_commit[0]()
    await broker.wait_all()
    seen = [await read_status(request, task_id) for request in (ada, bob, nobody)]
    assert seen == [TaskStatus(id=task_id, status="done", result=5), None, None]


async def test_scheduled_tasks_run_in_the_processes_that_run_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran = asyncio.Event()

    async def work(text: str) -> None:
        assert text == "night"
        ran.set()

    class Time:
        """A clock on which a minute passes with each look."""

        minutes = 0

        @classmethod
        def now(cls, zone: Any) -> Any:
            cls.minutes += 1
            return datetime(2029, 1, 1, tzinfo=zone) + timedelta(minutes=cls.minutes)

    add(monkeypatch, work)
    monkeypatch.setattr(module, "SCHEDULES", [Schedule(work, "* * * * *", ["night"])])
    monkeypatch.setattr(module, "datetime", Time)
    monkeypatch.setattr("app.tasks.scheduler.datetime", Time)
    broker = make_broker()
    await broker.startup()
    with anyio.fail_after(60):
        await ran.wait()
    task_id = next(iter(broker.results.records))
    assert await read_status(make_request(broker), task_id) is None
    await broker.shutdown()
    assert SCHEDULES == []


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        (Schedule(print, "0 3 * * *"), KeyError),
        (Schedule(write_message, "0 3 * * *", [5]), InvalidArguments),
        (Schedule(write_message, "0 3 * * *"), InvalidArguments),
    ],
)
def test_a_schedule_that_could_not_run_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, schedule: Schedule, problem: type[Exception]
) -> None:
    monkeypatch.setattr(module, "SCHEDULES", [schedule])
    with pytest.raises(problem):
        make_broker()


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
    settings = TaskSettings(redis_url=SecretStr("redis://127.0.0.1:1/0"))
    broker = create_broker(settings, connect(settings))
    assert isinstance(broker, StreamBroker)
    assert any(isinstance(middleware, RetryMiddleware) for middleware in broker.middlewares)
    # Starts although nobody answers there.
    await broker.startup()
    with pytest.raises(ConnectionError):
        await read_status(make_request(broker), "unknown")
    await broker.shutdown()


async def test_a_shared_queue_knows_what_was_sent_in_this_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Time:
        """A clock that stands still."""

        @classmethod
        def now(cls, zone: Any) -> Any:
            return datetime(2029, 1, 1, 12, 0, 59, tzinfo=zone)

    class Once(Scheduler):
        async def run(self) -> None:
            await self.tick(Time.now(UTC))

    monkeypatch.setattr(module, "SCHEDULES", [Schedule(write_message, "* * * * *", ["night"])])
    monkeypatch.setattr(module, "datetime", Time)
    monkeypatch.setattr(module, "Scheduler", Once)
    async with FakeAsyncRedis() as redis:
        for _ in range(3):
            broker = create_broker(TaskSettings(), redis)
            broker.is_worker_process = True
            await broker.startup()
            await broker.state.scheduler
            await broker.shutdown()
            assert await redis.xlen("tasks") == 1
    # Nor is it sent by the service, which runs no tasks then.
    broker = create_broker(TaskSettings(), redis)
    await broker.startup()
    assert not hasattr(broker.state, "scheduler")


@pytest.mark.parametrize(
    "error", [ConnectionError("down"), OutOfMemoryError("full"), TimeoutError("silent")]
)
async def test_a_task_that_cannot_be_sent_is_a_503_and_a_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    broker = make_broker()
    monkeypatch.setattr(broker, "kick", AsyncMock(side_effect=error))
    request = make_request(broker)
    enqueue(request, write_message, "hello")
    with pytest.raises(HTTPException) as caught:
        await request.state.after_commit[0]()
    assert caught.value.status_code == 503
    (record,) = caplog.records
    assert record.message == f"a task could not be sent: {type(error).__name__}: {error}"
    assert record.exc_info is None


async def test_a_request_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = make_broker()
    monkeypatch.setattr(module, "PATIENCE", 0)
    monkeypatch.setattr(broker, "kick", lambda message: anyio.sleep_forever())
    request = make_request(broker)
    enqueue(request, write_message, "hello")
    with pytest.raises(HTTPException):
        await request.state.after_commit[0]()


def test_a_request_for_a_status_does_not_wait_for_ever(
    make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    monkeypatch.setattr(MemoryResults, "read", lambda *_: anyio.sleep_forever())
    assert make_client().get("/tasks/any").status_code == 503


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
    settings = TaskSettings(redis_url=SecretStr(redis_url), task_result_ttl=5)
    redis = connect(settings)
    assert redis
    broker = create_broker(settings, redis)
    assert isinstance(broker, StreamBroker)
    request = make_request(broker, "ada")
    assert await broker.results.begin("test-of-statuses", "ada")
    status = TaskStatus(id="test-of-statuses", status="running")
    assert await read_status(request, status.id) == status
    result: Any = TaskiqResult(
        is_err=False, return_value=5, execution_time=0, labels={"owner": "ada"}
    )
    await broker.results.set_result(status.id, result)
    status = TaskStatus(id=status.id, status="done", result=5)
    assert await read_status(request, status.id) == status
    assert await read_status(make_request(broker, "bob"), status.id) is None
    await redis.aclose()


@pytest.mark.parametrize(
    ("url", "risks"),
    [
        ("redis://127.0.0.1:6379/0", []),
        ("", ["REDIS_URL: tasks are lost with the process: set it, and start workers"]),
    ],
)
def test_tasks_that_only_this_process_has_are_a_risk(url: str, risks: list[str]) -> None:
    assert list(TaskSettings(redis_url=SecretStr(url), docs_enabled=False).risks()) == risks
