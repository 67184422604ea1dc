from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis

from app.core.windows import MemoryWindows, RedisWindows, Windows

pytestmark = pytest.mark.anyio


class Clock:
    """Time that passes when it is told to; Redis' own, too."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class ClockRedis(FakeAsyncRedis):
    """Runs the script with the time of `clock`."""

    clock = Clock()

    def register_script(self, script: Any) -> Any:
        now = "{ARGV[3], 0}"
        register = super().register_script(script.replace("redis.call('TIME')", now))

        async def run(keys: list[str], args: list[object]) -> Any:
            return await register(keys=keys, args=[*args, self.clock.now])

        return run


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Windows]:
    if request.param == "memory":
        yield MemoryWindows(clock=clock)
    else:
        client = ClockRedis()
        client.clock = clock
        yield RedisWindows(client)
        await client.aclose()
