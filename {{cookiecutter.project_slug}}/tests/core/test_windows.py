import asyncio
import logging
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis

from app.core import windows
from app.core.windows import Limit, MemoryWindows, RedisWindows, Window, Windows

pytestmark = pytest.mark.anyio


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A time that passes when it is told to, also for the Redis that is no real one."""
    clock = Clock()
    monkeypatch.setattr("time.time", clock)
    return clock


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Windows]:
    if request.param == "memory":
        yield MemoryWindows(clock=clock)
    else:
        async with FakeAsyncRedis() as client:
            yield RedisWindows(client)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("100/minute", Limit(100, 60)),
        (" 1/second ", Limit(1, 1)),
        ("5/hour", Limit(5, 3600)),
        ("999999999/day", Limit(999_999_999, 86400)),
    ],
)
async def test_limits_are_read(text: str, limit: Limit) -> None:
    assert Limit.parse(text) == limit


@pytest.mark.parametrize(
    "text", ["", "100", "0/minute", "-1/minute", "1.5/second", "5/week", "٣/day"]
)
async def test_anything_else_is_no_limit(text: str) -> None:
    with pytest.raises(ValueError, match="100/minute"):
        Limit.parse(text)


async def test_exactly_the_limit_passes(store: Windows) -> None:
    hits = [await store.hit("a", Limit(3, 60)) for _ in range(5)]
    assert hits == [
        Window(True, 2, 60),
        Window(True, 1, 60),
        Window(True, 0, 60),
        Window(False, 0, 61),
        Window(False, 0, 61),
    ]


async def test_each_key_has_its_own_window(store: Windows) -> None:
    assert await store.hit("a", Limit(1, 60)) == Window(True, 0, 60)
    assert await store.hit("b", Limit(1, 60)) == Window(True, 0, 60)


async def test_the_window_slides(store: Windows, clock: Clock) -> None:
    limit = Limit(10, 60)
    await store.hit("a", limit)
    clock.now += 59
    assert [await count(store, limit) for _ in range(2)] == [9, 0]
    # Two seconds into the next period, all ten of this one but a thirtieth still count.
    clock.now += 3
    assert await count(store, limit) == 1
    clock.now += 28
    assert await count(store, limit) == 4
    clock.now += 30
    assert await count(store, limit) == 5


async def test_an_idle_client_starts_anew(store: Windows, clock: Clock) -> None:
    limit = Limit(3, 60)
    assert await count(store, limit) == 3
    clock.now += 120
    assert await count(store, limit) == 3


@pytest.mark.parametrize("pause", [0, 1, 59, 61, 75.5, 90, 119.25])
@pytest.mark.parametrize("amount", [1, 2, 7])
async def test_who_waits_as_told_passes(
    store: Windows, clock: Clock, amount: int, pause: float
) -> None:
    limit = Limit(amount, 60)
    await store.hit("a", limit)
    clock.now += pause
    await count(store, limit)
    for _ in range(5):
        refused = await store.hit("a", limit)
        assert refused and not refused.is_open
        clock.now += refused.reset
        passed = await store.hit("a", limit)
        assert passed and passed.is_open
        await count(store, limit)


async def test_what_remains_is_there(store: Windows, clock: Clock) -> None:
    limit = Limit(10, 60)
    for pause in (0, 30, 31, 10, 50, 1):
        clock.now += pause
        window = await store.hit("a", limit)
        assert window and await count(store, limit) == window.remaining


async def test_a_server_whose_clock_was_put_back(clock: Clock) -> None:
    async with FakeAsyncRedis() as client:
        store, limit = RedisWindows(client), Limit(2, 60)
        await store.hit("a", limit)
        clock.now -= 30
        assert [await store.hit("a", limit) for _ in range(2)] == [
            Window(True, 0, 60),
            Window(False, 0, 61),
        ]


async def test_memory_is_bounded() -> None:
    store = MemoryWindows(capacity=1000)
    for number in range(10_000):
        await store.hit(f"client {number}", Limit(1, 60))
    tracemalloc.start()
    try:
        for number in range(10_000, 20_000):
            await store.hit(f"client {number}", Limit(1, 60))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


async def test_a_client_that_comes_back_is_not_forgotten() -> None:
    store = MemoryWindows(capacity=100)
    passed = 0
    for number in range(10_000):
        if number % 40 == 0:
            window = await store.hit("busy", Limit(3, 86400))
            passed += window.is_open
        await store.hit(f"client {number}", Limit(1, 60))
    assert passed == 3


async def test_an_entry_on_redis_expires() -> None:
    async with FakeAsyncRedis() as client:
        await RedisWindows(client).hit("a", Limit(1, 60))
        assert await client.keys() == [b"rate-limit:a"]
        assert 0 < await client.pttl("rate-limit:a") <= 120_000


async def test_an_outage_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "PAUSE", 0)
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
    assert asked == windows.SLOTS


async def test_a_slow_answer_of_a_busy_process_is_no_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer_after_many_turns(**_: Any) -> list[int]:
        for _turn in range(windows.TURNS):
            await asyncio.sleep(0)
        return [1, 0, 1, 0]

    store = RedisWindows(FakeAsyncRedis())
    monkeypatch.setattr(store, "script", answer_after_many_turns)
    # Each turn of a busy event loop takes longer than the time for all of them.
    monkeypatch.setattr(windows, "TURN", 0)
    assert await store.hit("a", Limit(1, 60)) == Window(True, 0, 60)


@pytest.mark.server
async def test_two_clients_of_a_real_redis_share_a_window(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as one, Redis.from_url(redis_url) as other:
        await one.delete("rate-limit:test of windows")
        stores = [RedisWindows(one), RedisWindows(other)] * 100
        hits = await asyncio.gather(
            *(store.hit("test of windows", Limit(30, 60)) for store in stores)
        )
        assert sum(hit is not None and hit.is_open for hit in hits) == 30
        await one.delete("rate-limit:test of windows")


async def count(store: Windows, limit: Limit) -> int:
    """How many pass."""
    passed = 0
    while (window := await store.hit("a", limit)) and window.is_open:
        passed += 1
    return passed
