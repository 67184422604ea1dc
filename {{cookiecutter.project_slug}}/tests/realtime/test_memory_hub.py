import asyncio

import pytest

from app.realtime.hub import Hub, Inbox
from app.realtime.memory_hub import MemoryHub

pytestmark = pytest.mark.anyio


async def read(inbox: Inbox, count: int) -> list[str]:
    return [await inbox.get() for _ in range(count)]


async def test_everyone_in_a_room_gets_each_message_once_and_in_order() -> None:
    hub: Hub = MemoryHub(queue_size=100)
    with (
        hub.join("a", pytest.fail) as first,
        hub.join("a", pytest.fail) as second,
        hub.join("b", pytest.fail) as other,
    ):
        for number in range(40):
            await hub.publish("a", str(number))
        await hub.publish("b", "end")
        await hub.publish("a", "end")
        expected = [*map(str, range(40)), "end"]
        assert await read(first, 41) == await read(second, 41) == expected
        assert await other.get() == "end"


async def test_nothing_is_left_of_a_room_when_the_last_one_leaves() -> None:
    hub = MemoryHub(queue_size=1)
    with hub.join("a", pytest.fail):
        with pytest.raises(ValueError), hub.join("a", pytest.fail):
            raise ValueError
        assert len(hub.rooms["a"]) == 1
    assert hub.rooms == {}
    await hub.publish("a", "nobody is here")


async def test_a_burst_waits_for_those_who_read() -> None:
    hub = MemoryHub(queue_size=4)
    with hub.join("a", pytest.fail) as inbox:
        reader = asyncio.create_task(read(inbox, 1000))
        for number in range(1000):
            await hub.publish("a", str(number))
        assert await reader == [str(number) for number in range(1000)]


async def test_who_reads_nothing_holds_nobody_up() -> None:
    hub, stuck = MemoryHub(queue_size=4), asyncio.Event()
    with hub.join("a", stuck.set), hub.join("a", pytest.fail) as inbox:
        reader = asyncio.create_task(read(inbox, 1000))
        for number in range(1000):
            await hub.publish("a", str(number))
        assert stuck.is_set()
        assert len(await reader) == 1000


async def test_it_is_always_ready() -> None:
    hub = MemoryHub(queue_size=1)
    await hub.start()
    await hub.check()
    await hub.stop()
