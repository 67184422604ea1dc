import tracemalloc

import pytest

from app.limits.limit import Limit, WindowState
from app.limits.memory_limiter import MemoryLimiter

pytestmark = pytest.mark.anyio


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryLimiter:
    return MemoryLimiter(clock=clock)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("100/minute", Limit(100, 60)),
        (" 1/second ", Limit(1, 1)),
        ("5/hour", Limit(5, 3600)),
        ("999999999/day", Limit(999_999_999, 86400)),
    ],
)
async def test_valid_limits_are_parsed(text: str, limit: Limit) -> None:
    assert Limit.parse(text) == limit


@pytest.mark.parametrize(
    "text", ["", "100", "0/minute", "-1/minute", "1.5/second", "5/week", "٣/day"]
)
async def test_invalid_limits_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="100/minute"):
        Limit.parse(text)


async def test_exactly_the_limit_is_allowed(store: MemoryLimiter) -> None:
    hits = [await store.hit("a", Limit(3, 60)) for _ in range(5)]
    assert hits == [
        WindowState(True, 2, 60),
        WindowState(True, 1, 60),
        WindowState(True, 0, 60),
        WindowState(False, 0, 61),
        WindowState(False, 0, 61),
    ]


async def test_each_key_has_its_own_window(store: MemoryLimiter) -> None:
    assert await store.hit("a", Limit(1, 60)) == WindowState(True, 0, 60)
    assert await store.hit("b", Limit(1, 60)) == WindowState(True, 0, 60)


async def test_the_window_slides(store: MemoryLimiter, clock: Clock) -> None:
    limit = Limit(10, 60)
    await store.hit("a", limit)
    clock.now += 59
    assert [await count(store, limit) for _ in range(2)] == [9, 0]
    # Two seconds into the next period, 29 thirtieths of the ten hits of this one still count.
    clock.now += 3
    assert await count(store, limit) == 1
    clock.now += 28
    assert await count(store, limit) == 4
    clock.now += 30
    assert await count(store, limit) == 5


async def test_an_idle_client_has_the_whole_limit_again(store: MemoryLimiter, clock: Clock) -> None:
    limit = Limit(3, 60)
    assert await count(store, limit) == 3
    clock.now += 120
    assert await count(store, limit) == 3


@pytest.mark.parametrize("pause", [0, 1, 59, 61, 75.5, 90, 119.25])
@pytest.mark.parametrize("amount", [1, 2, 7])
async def test_a_client_that_waits_until_the_reset_is_allowed(
    store: MemoryLimiter, clock: Clock, amount: int, pause: float
) -> None:
    limit = Limit(amount, 60)
    await store.hit("a", limit)
    clock.now += pause
    await count(store, limit)
    for _ in range(5):
        rejected = await store.hit("a", limit)
        assert not rejected.is_open
        clock.now += rejected.reset
        assert (await store.hit("a", limit)).is_open
        await count(store, limit)


async def test_the_remaining_hits_are_allowed(store: MemoryLimiter, clock: Clock) -> None:
    limit = Limit(10, 60)
    for pause in (0, 30, 31, 10, 50, 1):
        clock.now += pause
        window = await store.hit("a", limit)
        assert await count(store, limit) == window.remaining


async def test_memory_is_bounded() -> None:
    store = MemoryLimiter(capacity=1000)
    for number in range(10_000):
        await store.hit(f"client {number}", Limit(1, 60))
    tracemalloc.start()
    try:
        for number in range(10_000, 20_000):
            await store.hit(f"client {number}", Limit(1, 60))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


async def test_an_active_client_is_not_dropped() -> None:
    store = MemoryLimiter(capacity=100)
    passed = 0
    for number in range(10_000):
        if number % 40 == 0:
            window = await store.hit("busy", Limit(3, 86400))
            passed += window.is_open
        await store.hit(f"client {number}", Limit(1, 60))
    assert passed == 3


async def count(store: MemoryLimiter, limit: Limit) -> int:
    """Return how many hits are allowed now."""
    passed = 0
    while (await store.hit("a", limit)).is_open:
        passed += 1
    return passed
