import asyncio
import itertools

import pytest

from app.realtime.hub import Hub
from app.realtime.memory_hub import MAX_BURST, MemoryHub

pytestmark = pytest.mark.anyio


class Socket:
    """Takes what is sent to it, but not before it is `reading`."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.reading = asyncio.Event()
        self.reading.set()

    async def send(self, text: str) -> None:
        await self.reading.wait()
        self.heard.append(text)


async def rest_of_a_burst() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_everyone_in_a_room_gets_each_message_once_and_in_order() -> None:
    hub: Hub = MemoryHub(queue_size=1)
    first, second, other = Socket(), Socket(), Socket()
    with (
        hub.join("a", first.send, pytest.fail),
        hub.join("a", second.send, pytest.fail),
        hub.join("b", other.send, pytest.fail),
    ):
        for number in range(100):
            await hub.publish("a", str(number))
        await hub.publish("b", "end")
        await rest_of_a_burst()
    assert first.heard == second.heard == [str(number) for number in range(100)]
    assert other.heard == ["end"]


async def test_nothing_is_left_of_a_room_when_the_last_one_leaves() -> None:
    hub = MemoryHub(queue_size=1)
    before = asyncio.all_tasks()
    with hub.join("a", Socket().send, pytest.fail):
        with pytest.raises(ValueError), hub.join("a", Socket().send, pytest.fail):
            raise ValueError
        assert len(hub.rooms["a"]) == 1
        await hub.publish("a", "somebody leaves before this is told")
    assert hub.rooms == {}
    await hub.publish("a", "nobody is here")
    await rest_of_a_burst()
    assert (hub._untold, hub._tellers, asyncio.all_tasks()) == ({}, set(), before)


async def test_who_left_hears_no_more() -> None:
    hub, socket = MemoryHub(queue_size=1), Socket()
    with hub.join("a", Socket().send, pytest.fail):
        with hub.join("a", socket.send, pytest.fail):
            await hub.publish("a", "hello")
        await rest_of_a_burst()
    assert socket.heard == []


async def test_a_burst_leaves_time_for_others() -> None:
    hub, socket = MemoryHub(queue_size=1), Socket()

    async def burst() -> None:
        for number in range(1000):
            await hub.publish("a", str(number))

    with hub.join("a", socket.send, pytest.fail):
        task = asyncio.create_task(burst())
        seen = []
        for _ in range(10):
            await asyncio.sleep(0)
            seen.append(len(socket.heard))
        task.cancel()
    assert seen[-1] > 0
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 2 * MAX_BURST


async def test_who_reads_nothing_holds_nobody_up() -> None:
    hub, stuck = MemoryHub(queue_size=4), asyncio.Event()
    slow, quick = Socket(), Socket()
    slow.reading.clear()
    with hub.join("a", slow.send, stuck.set), hub.join("a", quick.send, pytest.fail):
        for number in range(1000):
            await hub.publish("a", str(number))
        await rest_of_a_burst()
        assert stuck.is_set()
        assert quick.heard == [str(number) for number in range(1000)]
        assert slow.heard == []


async def test_it_is_always_ready() -> None:
    hub = MemoryHub(queue_size=1)
    await hub.start()
    await hub.check()
    await hub.stop()
