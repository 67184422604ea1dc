import inspect
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from fakeredis import FakeAsyncRedis
from taskiq import TaskiqMessage, TaskiqMiddleware, TaskiqResult
from taskiq.receiver import Receiver

from app.tasks import streams
from app.tasks.broker import TaskSettings, create_broker
from app.tasks.receiver import TaskReceiver
from app.tasks.registry import TASKS
from app.tasks.stream_message import StreamMessage
from app.tasks.streams import StreamBroker

pytestmark = pytest.mark.anyio

runs: list[str] = []


async def work(text: str) -> str:
    runs.append(text)
    return text


class Broken(TaskiqMiddleware):
    """Fails at one point around a task, once."""

    def __init__(self, point: str) -> None:
        super().__init__()
        self.errors = [ConnectionError("secret")]
        self.point = point

    def fail(self, point: str) -> None:
        if point == self.point and self.errors:
            raise self.errors.pop()

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        self.fail("pre_execute")
        return message

    def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        self.fail("post_execute")

    def post_save(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        self.fail("post_save")


@pytest.fixture
async def broker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StreamBroker]:
    runs.clear()
    monkeypatch.setattr(streams, "BLOCK", 1)
    monkeypatch.setitem(TASKS, "work", work)
    async with FakeAsyncRedis() as redis:
        broker = create_broker(TaskSettings(task_retry_delay=0), redis)
        assert isinstance(broker, StreamBroker)
        broker.state.context = SimpleNamespace()
        yield broker
        await broker.shutdown()


async def send(broker: StreamBroker, name: str = "work", *args: Any) -> None:
    task = broker.local_task_registry[name]
    await task.kicker().with_task_id("one").kiq(*args or ("hello",))


async def deliver(broker: StreamBroker) -> None:
    """Let a worker run what is in the queue, and then lose what it gave back."""
    await broker.redis.xgroup_create("tasks", "workers", id="0", mkstream=True)
    receiver = TaskReceiver(broker, validate_params=False)
    listening = broker.listen()
    for _ in range(10):
        await receiver.callback(await anext(listening))
        if not await broker.redis.xlen("tasks"):
            break
        # It is not confirmed any more.
        assert not broker.held
        await abandon(broker)
        broker.look_at = 0
    await listening.aclose()


async def abandon(broker: StreamBroker) -> None:
    held = await broker.redis.xpending_range("tasks", "workers", min="-", max="+", count=9)
    for entry in held:
        await broker.redis.xclaim(
            "tasks",
            "workers",
            broker.name,
            min_idle_time=0,
            message_ids=[entry["message_id"]],
            idle=int(2000 * broker.abandoned),
            retrycount=int(entry["times_delivered"]),
        )


async def status(broker: StreamBroker) -> Any:
    record = await broker.results.read("one")
    return record and (record.status.status, record.status.result)


@pytest.mark.parametrize(
    ("point", "times"), [("", 1), ("pre_execute", 1), ("post_execute", 2), ("post_save", 1)]
)
async def test_an_error_around_a_task_loses_nothing(
    broker: StreamBroker, point: str, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    broker.add_middlewares(Broken(point))
    await send(broker)
    await deliver(broker)
    assert await status(broker) == ("done", "hello")
    assert runs == ["hello"] * times
    assert ("an error around a task" in caplog.text) == bool(point)


async def test_a_next_try_that_cannot_be_sent_loses_nothing(
    broker: StreamBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    kick, errors = broker.kick, [ConnectionError()]

    async def fail_once(message: Any) -> None:
        if "tries" in message.labels and errors:
            raise errors.pop()
        await kick(message)

    async def stumble(text: str) -> str:
        runs.append(text)
        if len(runs) < 3:
            raise ValueError
        return text

    monkeypatch.setattr(broker, "kick", fail_once)
    monkeypatch.setattr(broker.state.jobs[work], "function", stumble)
    await send(broker)
    await deliver(broker)
    assert await status(broker) == ("done", "hello")
    assert errors == []


async def test_a_task_that_has_finished_is_not_run_again(broker: StreamBroker) -> None:
    await send(broker)
    entries: Any = await broker.redis.xrange("tasks")
    await deliver(broker)
    await broker.redis.xadd("tasks", entries[0][1])
    await broker.redis.xgroup_destroy("tasks", "workers")
    await deliver(broker)
    assert await broker.redis.xlen("tasks") == 0
    assert runs == ["hello"]
    assert await status(broker) == ("done", "hello")


@pytest.mark.parametrize("data", ["no json", "{}", json.dumps({"task_id": "one"})])
async def test_a_message_that_cannot_be_read_is_dropped(broker: StreamBroker, data: str) -> None:
    await broker.redis.xadd("tasks", {"data": data})
    await deliver(broker)
    assert await broker.redis.xlen("tasks") == 0


async def test_a_task_that_no_worker_knows_fails(
    broker: StreamBroker, caplog: pytest.LogCaptureFixture
) -> None:
    await send(broker)
    del broker.local_task_registry["work"]
    await broker.redis.xgroup_create("tasks", "workers", id="0", mkstream=True)
    receiver = TaskReceiver(broker, validate_params=False)
    for _ in range(streams.DELIVERIES):
        (entry,) = await broker.read()
        message = StreamMessage(
            data=entry[1][b"data"],  # type: ignore[index]
            ack=AsyncMock(),
            give_back=lambda: broker.held.clear(),
        )
        await receiver.callback(message)
        await abandon(broker)
        broker.look_at = 0
    assert caplog.text.count("this worker does not know the task work") == streams.DELIVERIES
    assert await broker.read() == []
    assert await status(broker) == ("failed", "The task failed")
    assert await broker.redis.xlen("tasks") == 0


def test_what_the_receiver_builds_on() -> None:
    """taskiq calls `callback` for each message, and with `raise_err` it lets every error pass.

    If this fails with another release of taskiq, read `Receiver.callback` before you change it.
    """
    assert str(inspect.signature(Receiver.callback)) == (
        "(self, message: bytes | taskiq.acks.AckableMessage, raise_err: bool = False) -> None"
    )
    source = inspect.getsource(Receiver)
    assert "self.callback(message=message.data, raise_err=False)" in source
    assert "if raise_err:\n                raise exc" in source
