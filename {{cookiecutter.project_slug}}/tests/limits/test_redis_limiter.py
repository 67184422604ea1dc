import asyncio
import logging
from random import Random
from secrets import token_hex
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis

from app.limits import redis_limiter
from app.limits.limit import Limit, WindowState
from app.limits.memory_limiter import MemoryLimiter
from app.limits.redis_limiter import RedisLimiter, create_limiter

pytestmark = pytest.mark.anyio


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Control the time of a fake Redis."""
    clock = Clock()
    monkeypatch.setattr("time.time", clock)
    return clock


@pytest.mark.parametrize("limit", [Limit(1, 60), Limit(2, 1), Limit(7, 60), Limit(10, 3600)])
async def test_both_limiters_count_alike(clock: Clock, limit: Limit) -> None:
    random = Random(f"{limit}")
    memory = MemoryLimiter(clock=clock)
    async with FakeAsyncRedis() as client:
        limiter = RedisLimiter(client)
        for _ in range(300):
            # Eighths of a second are exact in milliseconds and in floating point.
            pauses = [0, 0.125, limit.seconds / 8, limit.seconds, 2 * limit.seconds + 1]
            clock.now += random.choices(pauses, weights=[8, 4, 2, 1, 1])[0]
            key = random.choice("ab")
            assert await limiter.hit(key, limit) == await memory.hit(key, limit)


async def test_without_redis_the_limiter_is_in_memory() -> None:
    assert isinstance(create_limiter(None), MemoryLimiter)
    async with FakeAsyncRedis() as client:
        assert isinstance(create_limiter(client), RedisLimiter)


async def test_a_server_clock_that_is_set_back(clock: Clock) -> None:
    async with FakeAsyncRedis() as client:
        limiter, limit = RedisLimiter(client), Limit(2, 60)
        await limiter.hit("a", limit)
        clock.now -= 30
        assert [await limiter.hit("a", limit) for _ in range(2)] == [
            WindowState(True, 0, 60),
            WindowState(False, 0, 61),
        ]


async def test_an_entry_on_redis_expires() -> None:
    async with FakeAsyncRedis() as client:
        await RedisLimiter(client).hit("a", Limit(1, 60))
        assert await client.keys() == [b"rate-limit:a"]
        assert 0 < await client.pttl("rate-limit:a") <= 120_000


async def test_an_outage_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_limiter, "PAUSE", 0)
    server = FakeServer()
    limiter = RedisLimiter(FakeAsyncRedis(server=server))
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        server.connected = False
        assert [await limiter.hit("a", Limit(9, 60)) for _ in range(3)] == [None] * 3
        server.connected = True
        assert all([await limiter.hit("a", Limit(9, 60)) for _ in range(3)])
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "Redis is unavailable, requests are not counted",
        "Redis is available again",
    ] * 2


async def test_an_unavailable_redis_is_retried_after_a_pause(clock: Clock) -> None:
    server = FakeServer()
    server.connected = False
    limiter = RedisLimiter(FakeAsyncRedis(server=server))
    assert await limiter.hit("a", Limit(1, 60)) is None
    server.connected = True
    assert await limiter.hit("a", Limit(1, 60)) is None
    limiter.retry_at = 0
    assert await limiter.hit("a", Limit(1, 60)) == WindowState(True, 0, 60)
    assert await limiter.hit("a", Limit(1, 60)) == WindowState(False, 0, 61)


async def test_a_missing_reply_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    async def wait_for_ever(**_: Any) -> None:
        nonlocal calls
        calls += 1
        await asyncio.Event().wait()

    limiter = RedisLimiter(FakeAsyncRedis())
    monkeypatch.setattr(limiter, "script", wait_for_ever)
    started = asyncio.get_running_loop().time()
    hits = await asyncio.gather(*(limiter.hit("a", Limit(1, 60)) for _ in range(100)))
    assert hits == [None] * 100
    assert asyncio.get_running_loop().time() - started < 0.5
    assert calls == redis_limiter.SLOTS


async def test_a_slow_reply_in_a_busy_process_is_not_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def reply_after_many_turns(**_: Any) -> list[int]:
        for _turn in range(redis_limiter.TURNS):
            await asyncio.sleep(0)
        return [1, 0, 1, 0]

    limiter = RedisLimiter(FakeAsyncRedis())
    monkeypatch.setattr(limiter, "script", reply_after_many_turns)
    # Each turn of a busy event loop takes longer than the time for all of them.
    monkeypatch.setattr(redis_limiter, "TURN", 0)
    assert await limiter.hit("a", Limit(1, 60)) == WindowState(True, 0, 60)


@pytest.mark.server
async def test_two_clients_of_a_real_redis_share_a_window(redis_url: str) -> None:
    key = f"test of limiter {token_hex(8)}"
    async with Redis.from_url(redis_url) as one, Redis.from_url(redis_url) as other:
        limiters = [RedisLimiter(one), RedisLimiter(other)] * 100
        hits = await asyncio.gather(*(limiter.hit(key, Limit(30, 60)) for limiter in limiters))
        assert sum(hit is not None and hit.is_open for hit in hits) == 30
        await one.delete(f"rate-limit:{key}")
