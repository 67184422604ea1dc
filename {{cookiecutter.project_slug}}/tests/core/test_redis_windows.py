import asyncio
import logging
from random import Random
from secrets import token_hex
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis

from app.core import redis_windows
from app.core.redis_windows import RedisWindows, create_windows
from app.core.windows import Limit, MemoryWindows, Window

pytestmark = pytest.mark.anyio


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A time that passes when it is told to, for a Redis that is no real one."""
    clock = Clock()
    monkeypatch.setattr("time.time", clock)
    return clock


@pytest.mark.parametrize("limit", [Limit(1, 60), Limit(2, 1), Limit(7, 60), Limit(10, 3600)])
async def test_redis_counts_as_memory_does(clock: Clock, limit: Limit) -> None:
    random = Random(f"{limit}")
    memory = MemoryWindows(clock=clock)
    async with FakeAsyncRedis() as client:
        windows = RedisWindows(client)
        for _ in range(300):
            # In eighths, which the milliseconds of Redis and the fractions of memory both hold.
            pauses = [0, 0.125, limit.seconds / 8, limit.seconds, 2 * limit.seconds + 1]
            clock.now += random.choices(pauses, weights=[8, 4, 2, 1, 1])[0]
            key = random.choice("ab")
            assert await windows.hit(key, limit) == await memory.hit(key, limit)


async def test_without_redis_windows_are_in_memory() -> None:
    assert isinstance(create_windows(None), MemoryWindows)
    async with FakeAsyncRedis() as client:
        assert isinstance(create_windows(client), RedisWindows)


async def test_a_server_whose_clock_was_put_back(clock: Clock) -> None:
    async with FakeAsyncRedis() as client:
        store, limit = RedisWindows(client), Limit(2, 60)
        await store.hit("a", limit)
        clock.now -= 30
        assert [await store.hit("a", limit) for _ in range(2)] == [
            Window(True, 0, 60),
            Window(False, 0, 61),
        ]


async def test_an_entry_on_redis_expires() -> None:
    async with FakeAsyncRedis() as client:
        await RedisWindows(client).hit("a", Limit(1, 60))
        assert await client.keys() == [b"rate-limit:a"]
        assert 0 < await client.pttl("rate-limit:a") <= 120_000


async def test_an_outage_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_windows, "PAUSE", 0)
    server = FakeServer()
    store = RedisWindows(FakeAsyncRedis(server=server))
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        server.connected = False
        assert [await store.hit("a", Limit(9, 60)) for _ in range(3)] == [None] * 3
        server.connected = True
        assert all([await store.hit("a", Limit(9, 60)) for _ in range(3)])
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "Redis does not answer, nothing is counted",
        "Redis answers again",
    ] * 2


async def test_while_redis_is_down_it_is_asked_once_in_a_while(clock: Clock) -> None:
    server = FakeServer()
    server.connected = False
    store = RedisWindows(FakeAsyncRedis(server=server))
    assert await store.hit("a", Limit(1, 60)) is None
    server.connected = True
    assert await store.hit("a", Limit(1, 60)) is None
    store.ask_at = 0
    assert await store.hit("a", Limit(1, 60)) == Window(True, 0, 60)
    assert await store.hit("a", Limit(1, 60)) == Window(False, 0, 61)


async def test_silence_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def wait_for_ever(**_: Any) -> None:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()

    store = RedisWindows(FakeAsyncRedis())
    monkeypatch.setattr(store, "script", wait_for_ever)
    started = asyncio.get_running_loop().time()
    hits = await asyncio.gather(*(store.hit("a", Limit(1, 60)) for _ in range(100)))
    assert hits == [None] * 100
    assert asyncio.get_running_loop().time() - started < 0.5
    assert asked == redis_windows.SLOTS


async def test_a_slow_answer_of_a_busy_process_is_no_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer_after_many_turns(**_: Any) -> list[int]:
        for _turn in range(redis_windows.TURNS):
            await asyncio.sleep(0)
        return [1, 0, 1, 0]

    store = RedisWindows(FakeAsyncRedis())
    monkeypatch.setattr(store, "script", answer_after_many_turns)
    # Each turn of a busy event loop takes longer than the time for all of them.
    monkeypatch.setattr(redis_windows, "TURN", 0)
    assert await store.hit("a", Limit(1, 60)) == Window(True, 0, 60)


@pytest.mark.server
async def test_two_clients_of_a_real_redis_share_a_window(redis_url: str) -> None:
    key = f"test of windows {token_hex(8)}"
    async with Redis.from_url(redis_url) as one, Redis.from_url(redis_url) as other:
        stores = [RedisWindows(one), RedisWindows(other)] * 100
        hits = await asyncio.gather(*(store.hit(key, Limit(30, 60)) for store in stores))
        assert sum(hit is not None and hit.is_open for hit in hits) == 30
        await one.delete(f"rate-limit:{key}")
