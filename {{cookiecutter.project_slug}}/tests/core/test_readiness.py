import asyncio

import pytest

from app.core import readiness
from app.core.readiness import Readiness

pytestmark = pytest.mark.anyio


class Dependency:
    """Counts its checks, which end when they may."""

    def __init__(self) -> None:
        self.checks = 0
        self.may_end = asyncio.Event()

    async def check(self) -> None:
        self.checks += 1
        await self.may_end.wait()


async def test_all_who_ask_within_a_second_share_one_check() -> None:
    dependency, ready = Dependency(), Readiness()
    probes = [asyncio.create_task(ready.find_failures({"a": dependency.check})) for _ in range(100)]
    await asyncio.sleep(0)
    # One that gives up.
    probes.pop(0).cancel()
    dependency.may_end.set()
    assert await asyncio.gather(*probes) == [[]] * 99
    assert await ready.find_failures({"a": dependency.check}) == []
    assert dependency.checks == 1


async def test_the_next_check_comes_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "INTERVAL", 0)
    dependency, ready = Dependency(), Readiness()
    dependency.may_end.set()
    for _ in range(3):
        await ready.find_failures({"a": dependency.check})
    assert dependency.checks == 3
