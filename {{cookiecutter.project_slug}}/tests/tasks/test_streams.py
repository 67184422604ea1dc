import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock
from uuid import uuid4

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis
from redis.exceptions import ConnectionError
from taskiq import AckableMessage, InMemoryBroker

from app.tasks import streams
from app.tasks.streams import DELIVERIES, StreamBroker

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

    async def worker(self, abandoned: float = 3600) -> StreamBroker:
        broker = StreamBroker("redis://127.0.0.1:1/0", abandoned=abandoned)
        broker.redis = FakeAsyncRedis(server=self.server)
        broker.connection_pool = broker.redis.connection_pool  # type: ignore[assignment]
        broker.result_backend = InMemoryBroker().result_backend
        self.brokers.append(broker)
        await broker.startup()
        return broker

    async def send(self, broker: StreamBroker, *texts: str) -> None:
        for text in texts:
            kicker: Any = broker.task(lambda: None).kicker()
            await broker.kick(broker.formatter.dumps(kicker.with_task_id(text)._prepare_message()))

    async def abandon(self, broker: StreamBroker, deliveries: int = 1) -> None:
        """Make it so long ago that the worker held anything that it must be dead."""
        held = await self.redis.xpending_range("tasks", "workers", min="-", max="+", count=99)
        await self.redis.xclaim(
            "tasks",
            "workers",
            broker.consumer_name,
            min_idle_time=0,
            message_ids=[entry["message_id"] for entry in held],
            idle=2 * broker.idle_timeout,
            retrycount=deliveries,
        )

    async def held(self) -> dict[str, int]:
        """How many messages each worker holds."""
        consumers = await self.redis.xinfo_consumers("tasks", "workers")
        return {consumer["name"].decode(): consumer["pending"] for consumer in consumers}


@pytest.fixture
async def queue() -> AsyncIterator[Queue]:
    queue = Queue()
    yield queue
    for broker in queue.brokers:
        await broker.shutdown()
        await broker.redis.aclose()
    await queue.redis.aclose()


def ids(broker: StreamBroker, messages: list[AckableMessage]) -> list[str]:
    return [broker.formatter.loads(message.data).task_id for message in messages]


async def take(broker: StreamBroker, number: int) -> list[AckableMessage]:
    listening = broker.listen()
    messages = [await anext(listening) for _ in range(number)]
    await listening.aclose()
    return messages


async def test_what_was_sent_before_a_worker_came_is_not_skipped(queue: Queue) -> None:
    broker = await queue.worker()
    await queue.send(broker, "a", "b")
    assert ids(broker, await take(broker, 2)) == ["a", "b"]


async def test_an_acknowledged_message_is_gone(queue: Queue) -> None:
    broker = await queue.worker()
    await queue.send(broker, "a", "b")
    messages = await take(broker, 2)
    await messages[0].ack()  # type: ignore[misc]
    assert await queue.redis.xlen("tasks") == 1
    assert await queue.held() == {broker.consumer_name: 1}


async def test_a_worker_waits_for_work(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = await queue.worker()
    entry = (b"1-0", {b"data": b"work"})
    monkeypatch.setattr(broker, "read", AsyncMock(side_effect=[[], [], [entry]]))
    assert [message.data for message in await take(broker, 1)] == [b"work"]


async def test_workers_share_the_work(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BATCH", 1)
    one, other = await queue.worker(), await queue.worker()
    await queue.send(one, "a", "b")
    assert ids(one, await take(one, 1)) == ["a"]
    assert ids(other, await take(other, 1)) == ["b"]


async def test_what_a_dead_worker_held_is_taken_over_though_nothing_new_comes(
    queue: Queue,
) -> None:
    dead = await queue.worker()
    await queue.send(dead, "a", "b")
    await take(dead, 2)
    other = await queue.worker()
    assert await other.read() == []
    await queue.abandon(dead)
    other.look_at = 0
    assert ids(other, await take(other, 2)) == ["a", "b"]
    assert await queue.held() == {dead.consumer_name: 0, other.consumer_name: 2}


async def test_a_worker_that_lives_keeps_what_it_holds(queue: Queue) -> None:
    broker = await queue.worker()
    assert await broker.read() == []
    await broker.confirm()
    await queue.send(broker, "a")
    await take(broker, 1)
    await queue.abandon(broker)
    await broker.confirm()
    other = await queue.worker()
    assert await other.read() == []
    assert await queue.held() == {broker.consumer_name: 1, other.consumer_name: 0}
    entries: Any = await queue.redis.xpending_range("tasks", "workers", min="-", max="+", count=1)
    assert entries[0]["times_delivered"] == 1


async def test_confirming_goes_on_after_an_outage(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broker = await queue.worker(abandoned=0.003)
    await broker._declare_consumer_group()
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
    keeping = asyncio.create_task(broker.keep())
    await failed.wait()
    queue.server.connected = True
    await confirmed.wait()
    assert "could not confirm" in caplog.text
    keeping.cancel()


async def test_a_task_that_ends_its_workers_is_given_up(queue: Queue) -> None:
    broker = await queue.worker()
    await queue.send(broker, "deadly")
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
    await queue.send(broker, "a")
    assert ids(broker, await take(broker, 1)) == ["a"]
    # It comes back without its memory.
    await queue.redis.flushall()
    assert await broker.read() == []
    await queue.send(broker, "b")
    assert ids(broker, await take(broker, 1)) == ["b"]
    assert caplog.text.count("the queue does not answer") == 2
    assert caplog.text.count("the queue answers again") == 2


@pytest.mark.server
async def test_a_dead_worker_on_a_real_redis(redis_url: str) -> None:
    name = f"test-of-streams-{uuid4().hex}"
    brokers = [StreamBroker(redis_url, abandoned=0.01) for _ in range(2)]
    for broker in brokers:
        broker.queue_name = name
    dead, other = brokers
    try:
        kicker: Any = dead.task(lambda: None).kicker()
        await dead.kick(dead.formatter.dumps(kicker.with_task_id("a")._prepare_message()))
        assert ids(dead, await take(dead, 1)) == ["a"]
        await asyncio.sleep(0.02)
        (message,) = await take(other, 1)
        assert ids(other, [message]) == ["a"]
        await message.ack()  # type: ignore[misc]
        async with Redis.from_url(redis_url) as redis:
            assert await redis.xlen(name) == 0
            await redis.delete(name)
    finally:
        for broker in brokers:
            await broker.shutdown()
