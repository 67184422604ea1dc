import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from secrets import token_hex
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, RedisError

from app.realtime import redis_hub as module
from app.realtime.hub import Hub, Unavailable
from app.realtime.redis_hub import RedisHub

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 0.02)
    monkeypatch.setattr(module, "BACKOFF", (0.001, 0.01))


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@asynccontextmanager
async def running(
    redis: Redis, channel: str = "tests", queue_size: int = 100
) -> AsyncIterator[RedisHub]:
    """Start a hub and wait until it is connected."""
    hub = RedisHub(redis, channel=channel, queue_size=queue_size)
    await hub.start()
    try:
        await eventually(lambda: hub.connected)
        yield hub
    finally:
        await hub.stop()
        await redis.aclose()


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0.001)


class Member:
    """A member of a room."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[str] = asyncio.Queue()

    async def send(self, text: str) -> None:
        self.received.put_nowait(text)


@contextmanager
def joined(hub: Hub, room: str) -> Iterator[Member]:
    member = Member()
    with hub.join(room, member.send, pytest.fail):
        yield member


async def read(member: Member, count: int) -> list[str]:
    async with asyncio.timeout(10):
        return [await member.received.get() for _ in range(count)]


class FailingRedis(FakeAsyncRedis):
    """A fake client that fails to publish messages while `error` is set; heartbeats still succeed.

    Its subscriptions, counted in `subscribed`, fail when `broken` is set: unlike a real client, a
    fake one does not notice that its server is gone.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.error: Exception | None = None
        self.subscribed = 0
        self.broken = asyncio.Event()

    def pubsub(self, **options: Any) -> Any:
        self.subscribed += 1
        pubsub: Any = super().pubsub(**options)
        get_message = pubsub.get_message

        async def get_message_or_break(**options: Any) -> Any:
            message = asyncio.ensure_future(get_message(**options))
            broken = asyncio.ensure_future(self.broken.wait())
            try:
                await asyncio.wait((message, broken), return_when=asyncio.FIRST_COMPLETED)
                if self.broken.is_set():
                    raise ConnectionError("reset")
                return message.result()
            finally:
                message.cancel()
                broken.cancel()

        pubsub.get_message = get_message_or_break
        return pubsub

    async def publish(self, channel: Any, message: Any, **kwargs: Any) -> Any:
        if self.error and json.loads(message)[2]:
            raise self.error
        return await super().publish(channel, message, **kwargs)


async def test_members_in_all_processes_see_the_same_order(server: FakeServer) -> None:
    async with (
        running(FakeAsyncRedis(server=server)) as one,
        running(FakeAsyncRedis(server=server)) as two,
    ):
        with (
            joined(one, "a") as first,
            joined(two, "a") as second,
            joined(two, "b") as other,
        ):

            async def talk(hub: Hub, name: str) -> None:
                for number in range(200):
                    await hub.publish("a", f"{name} {number}")

            _, _, seen, seen_too = await asyncio.gather(
                talk(one, "one"), talk(two, "two"), read(first, 400), read(second, 400)
            )
            assert seen == seen_too
            for name in ("one", "two"):
                expected = [f"{name} {number}" for number in range(200)]
                assert [text for text in seen if text.startswith(name)] == expected
            await one.publish("b", "end")
            assert await read(other, 1) == ["end"]
        assert (one.lost, two.lost) == (0, 0)


async def test_waiting_messages_are_published_in_batches(server: FakeServer) -> None:
    redis = FailingRedis(server=server)
    async with running(redis, queue_size=1000) as hub:
        with joined(hub, "a") as queue:
            await asyncio.gather(*(hub.publish("a", str(number)) for number in range(250)))
            assert await read(queue, 250) == [str(number) for number in range(250)]


async def test_channels_are_separate(server: FakeServer) -> None:
    one, two = FakeAsyncRedis(server=server), FakeAsyncRedis(server=server)
    async with running(one) as here, running(two, channel="other") as there:
        with joined(here, "a") as first, joined(there, "a") as second:
            await there.publish("a", "there")
            assert await read(second, 1) == ["there"]
            await here.publish("a", "here")
            assert await read(first, 1) == ["here"]


async def test_the_hub_recovers_from_an_outage(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app.realtime.redis_hub")
    one, two = FailingRedis(server=server), FailingRedis(server=server)
    async with running(one) as here, running(two) as there:
        with joined(here, "a") as first, joined(there, "a") as second:
            await here.publish("a", "before")
            assert await read(first, 1) == await read(second, 1) == ["before"]

            server.connected = False
            one.broken.set()
            two.broken.set()
            await eventually(lambda: not here.connected and not there.connected)
            with pytest.raises(Unavailable):
                await here.check()
            for _ in range(3):
                with pytest.raises(Unavailable):
                    await here.publish("a", "meanwhile")
            server.connected = True
            one.broken.clear()
            two.broken.clear()
            await eventually(lambda: here.connected and there.connected)
            await here.check()

            # Without another message, because the heartbeats carry the count.
            await eventually(lambda: here.lost == there.lost == 3)
            await here.publish("a", "after")
            assert await read(first, 1) == await read(second, 1) == ["after"]
            assert here.lost == there.lost == 3
    messages = "\n".join(caplog.messages)
    assert messages.count("no connection to Redis: network:ConnectionError") == 2
    assert " s, during which 3 messages were rejected" in messages
    assert messages.count("3 messages were lost, 3 so far") == 2


async def test_a_silent_connection_is_replaced(
    server: FakeServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A server that vanishes does not close its connections.
    monkeypatch.setattr(module, "SILENCE", 0.1)
    redis = FakeAsyncRedis(server=server)
    async with running(redis) as hub:
        server.connected = False
        await eventually(lambda: "no connection to Redis: TimeoutError()" in caplog.text)
        server.connected = True
        await eventually(lambda: hub.connected)


async def test_the_hub_starts_without_redis(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.connected = False
    redis = FailingRedis(server=server)
    hub = RedisHub(redis, channel="tests", queue_size=1)
    await hub.start()
    with pytest.raises(Unavailable):
        await hub.publish("a", "too early")
    await eventually(lambda: redis.subscribed > 3)
    server.connected = True
    await eventually(lambda: hub.connected)
    assert caplog.text.count("no connection to Redis") == 1
    await hub.stop()
    with pytest.raises(Unavailable):
        await hub.publish("a", "too late")
    await redis.aclose()


@pytest.mark.parametrize("error", [RedisError("READONLY"), OSError("reset"), ValueError()])
async def test_publish_raises_if_the_message_was_not_sent(
    server: FakeServer, error: Exception
) -> None:
    redis = FailingRedis(server=server)
    async with running(redis) as hub, running(FakeAsyncRedis(server=server)) as other:
        with joined(other, "a") as queue:
            await hub.publish("a", "before")
            redis.error = error
            with pytest.raises(Unavailable):
                await hub.publish("a", "lost")
            redis.error = None
            await hub.publish("a", "after")
            assert await read(queue, 2) == ["before", "after"]
            assert other.lost == 1


async def test_a_cancelled_publish_does_not_affect_others(server: FakeServer) -> None:
    redis = FailingRedis(server=server)
    async with running(redis) as hub:
        for error in (None, RedisError()):
            redis.error = error
            cancelled = asyncio.create_task(hub.publish("a", "cancelled"))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait([cancelled])
        redis.error = None
        with joined(hub, "a") as queue:
            await hub.publish("a", "next")
            assert (await read(queue, 1)) in (["cancelled"], ["next"])


async def test_a_batch_that_arrives_twice_is_delivered_once(server: FakeServer) -> None:
    redis = FakeAsyncRedis(server=server)
    async with running(redis) as hub:
        with joined(hub, "a") as queue:
            # As a client does that lost its connection before it received the reply.
            for first, texts in ((7, "ab"), (7, "ab"), (9, "c"), (7, "ab"), (10, "d")):
                batch = ["other", first, [["a", text] for text in texts]]
                await redis.publish("tests", json.dumps(batch))
            assert await read(queue, 4) == ["a", "b", "c", "d"]
            assert hub.lost == 0


async def test_a_message_that_cannot_be_encoded_does_not_stop_the_hub(server: FakeServer) -> None:
    async with running(FakeAsyncRedis(server=server)) as hub:
        with joined(hub, "a") as queue:
            with pytest.raises(Unavailable):
                await hub.publish("a", "\ud800")
            await hub.publish("a", "next")
            assert await read(queue, 1) == ["next"]


@pytest.mark.parametrize("data", ["", "garbage", "[]", '["other", "x", []]', b"\xff", "null"])
async def test_invalid_batches_are_ignored(
    server: FakeServer, caplog: pytest.LogCaptureFixture, data: str | bytes
) -> None:
    redis = FakeAsyncRedis(server=server)
    async with running(redis) as hub:
        with joined(hub, "a") as queue:
            await redis.publish("tests", data)
            await hub.publish("a", "next")
            assert await read(queue, 1) == ["next"]
    assert caplog.messages == ["ignored an invalid batch in the channel tests"]


async def test_the_number_of_remembered_processes_is_limited(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ORIGINS", 3)
    redis = FakeAsyncRedis(server=server)
    async with running(redis) as hub:
        with joined(hub, "a") as queue:
            for number in range(20):
                await redis.publish("tests", json.dumps([str(number), 0, [["a", ""]]]))
            assert len(await read(queue, 20)) == 20
            assert len(hub._expected) == 3


async def test_stopping_ends_all_tasks(server: FakeServer) -> None:
    before = asyncio.all_tasks()
    redis = FakeAsyncRedis(server=server)
    async with running(redis):
        assert asyncio.all_tasks() > before
    assert asyncio.all_tasks() == before


@pytest.mark.server
async def test_with_a_real_redis_server(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "app.realtime.redis_hub")
    channel = f"tests:{token_hex(8)}"
    one, two = (Redis.from_url(redis_url, client_name=channel) for _ in range(2))
    async with running(one, channel) as here, running(two, channel) as there:
        with joined(here, "a") as first, joined(there, "a") as second:
            async with asyncio.TaskGroup() as tasks:
                for number in range(50):
                    tasks.create_task((here, there)[number % 2].publish("a", str(number)))
            seen = await read(first, 50)
            assert seen == await read(second, 50)
            assert sorted(map(int, seen)) == list(range(50))

            # The hubs connect again after the server has closed their connections.
            listening = [c for c in await one.client_list("pubsub") if c["name"] == channel]
            for connection in listening:
                await one.client_kill_filter(_id=connection["id"])
            await eventually(lambda: caplog.text.count(" connected to Redis") == 4)
            await here.publish("a", "after")
            assert await read(first, 1) == await read(second, 1) == ["after"]
