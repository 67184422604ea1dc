import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock
from uuid import uuid4

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, ResponseError
from taskiq.exceptions import UnknownTaskError

from app.core.redis import create_pool
from app.tasks import redis_results, streams
from app.tasks.cancel import cancel
from app.tasks.errors import QueueFull
from app.tasks.redis_results import RedisResults, record_key
from app.tasks.stream_message import StreamMessage
from app.tasks.streams import DELIVERIES, GONE, StreamBroker

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BLOCK", 1)
    monkeypatch.setattr(streams, "PAUSE", 0)


class Queue:
    """A queue on a Redis that is no real one, and workers of it."""

    def __init__(self) -> None:
        self.server = FakeServer()
        self.brokers: list[StreamBroker] = []
        self.redis = FakeAsyncRedis(server=self.server)

    async def worker(self, abandoned: float = 3600, limit: int = 100) -> StreamBroker:
        redis = FakeAsyncRedis(server=self.server)
        results = RedisResults(redis, ttl=60)
        broker = StreamBroker(redis, results, limit=limit, abandoned=abandoned)
        self.brokers.append(broker)
        await broker.startup()
        return broker

    async def abandon(self, broker: StreamBroker, deliveries: int = 1) -> None:
        """Make it so long ago that the worker held anything that it must be dead."""
        held = await self.redis.xpending_range("tasks", "workers", min="-", max="+", count=99)
        await self.redis.xclaim(
            "tasks",
            "workers",
            broker.name,
            min_idle_time=0,
            message_ids=[entry["message_id"] for entry in held],
            idle=int(2000 * broker.abandoned),
            retrycount=deliveries,
        )

    async def held(self) -> dict[str, int]:
        """How many messages each worker holds."""
        consumers = await self.redis.xinfo_consumers("tasks", "workers")
        return {consumer["name"].decode(): consumer["pending"] for consumer in consumers}


async def send(broker: StreamBroker, *ids: str, **labels: Any) -> None:
    for task_id in ids:
        kicker: Any = broker.task(lambda: None).kicker().with_task_id(task_id)
        message = kicker.with_labels(**labels)._prepare_message()
        await broker.kick(broker.formatter.dumps(message))


@pytest.fixture
async def queue() -> AsyncIterator[Queue]:
    queue = Queue()
    yield queue
    for broker in queue.brokers:
        await broker.shutdown()
        await broker.redis.aclose()
    await queue.redis.aclose()


def ids(broker: StreamBroker, messages: list[StreamMessage]) -> list[str]:
    return [broker.formatter.loads(message.data).task_id for message in messages]


async def take(broker: StreamBroker, number: int) -> list[StreamMessage]:
    listening = broker.listen()
    messages = [await anext(listening) for _ in range(number)]
    await listening.aclose()
    return messages


async def test_what_was_sent_before_a_worker_came_is_not_skipped(queue: Queue) -> None:
    broker = await queue.worker()
    await send(broker, "a", "b")
    assert ids(broker, await take(broker, 2)) == ["a", "b"]


async def test_an_acknowledged_message_is_gone(queue: Queue) -> None:
    broker = await queue.worker()
    await send(broker, "a", "b")
    messages = await take(broker, 2)
    await messages[0].ack()  # type: ignore[misc]
    assert await queue.redis.xlen("tasks") == 1
    assert await queue.held() == {broker.name: 1}


async def test_a_worker_waits_for_work(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = await queue.worker()
    entry = (b"1-0", {b"data": b"work"})
    monkeypatch.setattr(broker, "read", AsyncMock(side_effect=[[], [], [entry]]))
    assert [message.data for message in await take(broker, 1)] == [b"work"]


async def test_workers_share_the_work(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BATCH", 1)
    one, other = await queue.worker(), await queue.worker()
    await send(one, "a", "b")
    assert ids(one, await take(one, 1)) == ["a"]
    assert ids(other, await take(other, 1)) == ["b"]


async def test_what_a_dead_worker_held_is_taken_over_though_nothing_new_comes(
    queue: Queue,
) -> None:
    dead = await queue.worker()
    await send(dead, "a", "b")
    await take(dead, 2)
    other = await queue.worker()
    assert await other.read() == []
    await queue.abandon(dead)
    other.look_at = 0
    assert ids(other, await take(other, 2)) == ["a", "b"]
    assert await queue.held() == {dead.name: 0, other.name: 2}


async def test_a_worker_that_lives_keeps_what_it_holds(queue: Queue) -> None:
    broker = await queue.worker()
    assert await broker.read() == []
    await broker.confirm()
    await send(broker, "a")
    await take(broker, 1)
    await queue.abandon(broker)
    await broker.confirm()
    other = await queue.worker()
    assert await other.read() == []
    assert await queue.held() == {broker.name: 1, other.name: 0}
    entries: Any = await queue.redis.xpending_range("tasks", "workers", min="-", max="+", count=1)
    assert entries[0]["times_delivered"] == 1


async def test_confirming_goes_on_after_an_outage(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broker = await queue.worker(abandoned=0.003)
    await send(broker, "a")
    await take(broker, 1)
    failed, confirmed = asyncio.Event(), asyncio.Event()
    confirm = broker.confirm

    async def confirm_and_tell() -> None:
        try:
            await confirm()
        except ConnectionError:
            failed.set()
            raise
        confirmed.set()

    monkeypatch.setattr(broker, "confirm", confirm_and_tell)
    queue.server.connected = False
    keeping = asyncio.create_task(broker.keep_confirming())
    await failed.wait()
    queue.server.connected = True
    await confirmed.wait()
    assert "could not confirm" in caplog.text
    await cancel(keeping)


async def test_a_task_that_ends_its_workers_is_given_up(queue: Queue) -> None:
    broker = await queue.worker()
    await send(broker, "deadly")
    await take(broker, 1)
    await queue.abandon(broker, DELIVERIES - 1)
    broker.look_at = 0
    assert ids(broker, await take(broker, 1)) == ["deadly"]
    await queue.abandon(broker, DELIVERIES)
    broker.look_at = 0
    assert await broker.read() == []
    assert await queue.redis.xlen("tasks") == 0
    result = await broker.result_backend.get_result("deadly")
    assert result.is_err


async def test_an_outage_does_not_end_a_worker(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    broker = await queue.worker()
    queue.server.connected = False
    for _ in range(3):
        assert await broker.read() == []
    queue.server.connected = True
    await send(broker, "a")
    assert ids(broker, await take(broker, 1)) == ["a"]
    # It comes back without its memory.
    await queue.redis.flushall()
    assert await broker.read() == []
    await send(broker, "b")
    assert ids(broker, await take(broker, 1)) == ["b"]
    assert caplog.text.count("the queue is unavailable") == 2
    assert caplog.text.count("the queue is available again") == 2


async def test_a_task_has_a_record_if_and_only_if_it_is_in_the_queue(queue: Queue) -> None:
    broker = await queue.worker(limit=2)
    await send(broker, "a", owner="ada")
    await send(broker, "b")
    with pytest.raises(QueueFull, match="2 tasks wait"):
        await send(broker, "c")
    records = [await broker.results.read(task_id) for task_id in "abc"]
    assert [record and (record.status.status, record.owner) for record in records] == [
        ("pending", "ada"),
        ("pending", None),
        None,
    ]
    assert 0 < await queue.redis.ttl(record_key("a")) <= 60


async def test_a_task_that_is_sent_twice_is_there_once(queue: Queue) -> None:
    broker = await queue.worker()
    await send(broker, "a", "a")
    assert await queue.redis.xlen("tasks") == 1
    # Also when it was run in between: the outcome stays.
    await broker.results.begin("a", None)
    await send(broker, "a")
    record = await broker.results.read("a")
    assert record and record.status.status == "running"


async def test_another_try_always_fits_in(queue: Queue) -> None:
    broker = await queue.worker(limit=1)
    await send(broker, "a")
    await send(broker, "a", tries=2)
    assert await queue.redis.xlen("tasks") == 2


@pytest.mark.parametrize("fields", [{"other": "x"}, {b"\xff": b"\xff"}])
async def test_what_is_no_message_is_dropped_and_ends_no_worker(
    queue: Queue, fields: dict[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    broker = await queue.worker()
    await queue.redis.xadd("tasks", fields)
    await send(broker, "a")
    (message,) = await take(broker, 1)
    assert ids(broker, [message]) == ["a"]
    assert "which is no task" in caplog.text
    assert await queue.held() == {broker.name: 1}
    assert await queue.redis.xlen("tasks") == 1


async def test_a_message_that_cannot_be_read_is_not_given_up_but_delivered(queue: Queue) -> None:
    broker = await queue.worker()
    await queue.redis.xadd("tasks", {"data": "no json"})
    await take(broker, 1)
    await queue.abandon(broker, DELIVERIES)
    broker.look_at = 0
    (message,) = await take(broker, 1)
    assert message.data == b"no json"


async def test_a_message_that_was_given_back_is_delivered_again(queue: Queue) -> None:
    broker = await queue.worker()
    await send(broker, "a", "b")
    first, second = await take(broker, 2)
    first.give_back()
    await queue.abandon(broker)
    # What this worker still works on is confirmed, and nothing else.
    await broker.confirm()
    broker.look_at = 0
    assert ids(broker, await take(broker, 1)) == ["a"]
    await second.ack()  # type: ignore[misc]
    assert await queue.redis.xlen("tasks") == 1


async def test_a_message_whose_delivery_was_lost_is_delivered_again(queue: Queue) -> None:
    broker = await queue.worker()
    await send(broker, "a")
    await broker.declare()
    # As if the connection had broken before the response came.
    await queue.redis.xreadgroup("workers", broker.name, {"tasks": ">"})
    await broker.confirm()
    await queue.abandon(broker)
    await broker.confirm()
    broker.look_at = 0
    assert ids(broker, await take(broker, 1)) == ["a"]


async def test_a_message_that_another_worker_took_meanwhile_is_not_given_up(queue: Queue) -> None:
    broker = await queue.worker()
    await broker.declare()
    assert not await broker.give_up(b"1-0", {b"data": b"{}"})


async def test_no_error_ends_a_worker(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broker = await queue.worker()
    monkeypatch.setattr(broker, "read_new", AsyncMock(side_effect=[ZeroDivisionError, []]))
    assert await broker.read() == []
    assert "the queue is unavailable: ZeroDivisionError" in caplog.text
    assert await broker.read() == []
    assert "the queue is available again" in caplog.text


async def test_after_an_outage_workers_have_time_to_confirm(queue: Queue) -> None:
    one, other = await queue.worker(), await queue.worker()
    await send(one, "a")
    await take(one, 1)
    await queue.abandon(one)
    other.is_down = True
    assert await other.read() == []
    one.is_declared = False
    await one.read()
    other.look_at = 0
    assert await other.read() == []


async def test_a_group_that_cannot_be_made_is_an_outage(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = await queue.worker()
    error = AsyncMock(side_effect=ResponseError("NOPERM"))
    monkeypatch.setattr(broker.redis, "xgroup_create", error)
    with pytest.raises(ResponseError):
        await broker.declare()


async def test_a_worker_gives_back_what_it_does_not_know(queue: Queue) -> None:
    broker = await queue.worker()
    with pytest.raises(UnknownTaskError):
        broker.find_task("of a newer version")


async def test_workers_that_are_gone_are_forgotten_unless_they_hold_something(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, dead, other = [await queue.worker() for _ in range(3)]
    await gone.read()
    await send(dead, "a")
    await take(dead, 1)
    assert GONE == 3_600_000
    monkeypatch.setattr(streams, "GONE", -1)
    await other.read()
    assert await queue.held() == {dead.name: 1, other.name: 0}


@pytest.mark.parametrize(
    ("reply", "warnings"),
    [
        ({"maxmemory_policy": "allkeys-lru"}, 1),
        ({"maxmemory_policy": "noeviction"}, 0),
        ({}, 0),
        (ResponseError("NOPERM"), 0),
    ],
)
async def test_a_redis_that_may_evict_the_queue_is_seen(
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reply: Any,
    warnings: int,
) -> None:
    broker = await queue.worker()
    monkeypatch.setattr(broker.redis, "info", AsyncMock(side_effect=[reply]))
    await broker.declare()
    await broker.declare()
    assert caplog.text.count("Redis may evict the queue") == warnings


@pytest.mark.server
async def test_a_dead_worker_on_a_real_redis(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"test-of-streams-{uuid4().hex}"
    monkeypatch.setattr(streams, "STREAM", name)
    monkeypatch.setattr(streams, "BLOCK", 1000)
    monkeypatch.setattr(streams, "record_key", lambda task_id: f"{name}:{task_id}")
    async with Redis.from_url(redis_url) as redis:
        dead, other = [
            StreamBroker(redis, RedisResults(redis, ttl=60), limit=9, abandoned=0.01)
            for _ in range(2)
        ]
        await send(dead, "a", "a")
        assert ids(dead, await take(dead, 1)) == ["a"]
        await asyncio.sleep(0.02)
        (message,) = await take(other, 1)
        assert ids(other, [message]) == ["a"]
        await message.ack()  # type: ignore[misc]
        assert await redis.xlen(name) == 0
        await redis.delete(name, f"{name}:a")


@pytest.mark.server
async def test_a_burst_does_not_run_out_of_connections(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"test-of-streams-{uuid4().hex}"
    monkeypatch.setattr(streams, "STREAM", name)
    for module in (streams, redis_results):
        monkeypatch.setattr(module, "record_key", lambda task_id: f"{name}:{task_id}")
    async with Redis.from_pool(create_pool(redis_url)) as redis:
        results = RedisResults(redis, ttl=60)
        broker = StreamBroker(redis, results, limit=1000)
        ids = [str(number) for number in range(300)]
        await asyncio.gather(*(send(broker, task_id) for task_id in ids))
        await asyncio.gather(*(results.begin(task_id, None) for task_id in ids))
        records = await asyncio.gather(*(results.read(task_id) for task_id in ids))
        assert {record and record.status.status for record in records} == {"running"}
        entries: Any = await redis.xrange(name)
        await asyncio.gather(*(broker.acknowledge(entry_id) for entry_id, _ in entries))
        assert await redis.xlen(name) == 0
        await redis.delete(name, *(f"{name}:{task_id}" for task_id in ids))
