import asyncio
import contextlib
import itertools

import pytest

from app.realtime import memory_hub
from app.realtime.hub import Hub
from app.realtime.memory_hub import MAX_BURST, MemoryHub

pytestmark = pytest.mark.anyio


class Socket:
    """A client of a WebSocket. A send waits while it is not `reading`."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.reading = asyncio.Event()
        self.reading.set()

    async def send(self, text: str) -> None:
        await self.reading.wait()
        self.received.append(text)


async def pending_deliveries() -> None:
    """Wait until the messages of a burst are delivered."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_every_member_receives_each_message_once_and_in_order() -> None:
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
        await pending_deliveries()
    assert first.received == second.received == [str(number) for number in range(100)]
    assert other.received == ["end"]


async def test_a_room_is_removed_when_the_last_member_leaves() -> None:
    hub = MemoryHub(queue_size=1)
    before = asyncio.all_tasks()
    with hub.join("a", Socket().send, pytest.fail):
        with pytest.raises(ValueError), hub.join("a", Socket().send, pytest.fail):
            raise ValueError
        assert len(hub.rooms["a"]) == 1
        await hub.publish("a", "the member leaves before this is delivered")
    assert hub.rooms == {}
    await hub.publish("a", "the room is empty")
    await pending_deliveries()
    assert (hub._pending, hub._deliveries, asyncio.all_tasks()) == ({}, set(), before)


async def test_a_member_that_left_receives_no_more_messages() -> None:
    hub, socket = MemoryHub(queue_size=1), Socket()
    with hub.join("a", Socket().send, pytest.fail):
        with hub.join("a", socket.send, pytest.fail):
            await hub.publish("a", "hello")
        await pending_deliveries()
    assert socket.received == []


async def test_a_burst_does_not_block_the_event_loop() -> None:
    hub, socket = MemoryHub(queue_size=1), Socket()

    async def burst() -> None:
        for number in range(1000):
            await hub.publish("a", str(number))

    with hub.join("a", socket.send, pytest.fail):
        task = asyncio.create_task(burst())
        seen = []
        for _ in range(10):
            await asyncio.sleep(0)
            seen.append(len(socket.received))
        task.cancel()
    assert seen[-1] > 0
    assert max(after - before for before, after in itertools.pairwise(seen)) <= 2 * MAX_BURST


async def test_a_large_room_does_not_block_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_hub, "SLICE", 0)
    hub = MemoryHub(queue_size=1)
    sockets = [Socket() for _ in range(10)]
    with contextlib.ExitStack() as stack:
        for socket in sockets[:-1]:
            stack.enter_context(hub.join("a", socket.send, pytest.fail))
        with hub.join("a", sockets[-1].send, pytest.fail):
            await hub.publish("a", "hello")
            for _ in range(5):
                await asyncio.sleep(0)
            assert 0 < sum(len(socket.received) for socket in sockets) < 9
        # It left before its turn.
        for _ in range(10):
            await asyncio.sleep(0)
    assert [socket.received for socket in sockets] == [["hello"]] * 9 + [[]]


async def test_who_sends_more_than_is_delivered_has_to_wait() -> None:
    hub, socket = MemoryHub(queue_size=1), Socket()
    with hub.join("a", socket.send, pytest.fail):
        async with hub._turn:
            sender = asyncio.create_task(send_burst(hub))
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(hub._pending["a"][0]) == MAX_BURST
        await sender
        await pending_deliveries()
    assert socket.received == [str(number) for number in range(2 * MAX_BURST)]


async def send_burst(hub: Hub) -> None:
    """Send twice as many messages as may be pending."""
    for number in range(2 * MAX_BURST):
        await hub.publish("a", str(number))


async def test_a_member_that_does_not_read_delays_no_other() -> None:
    hub, stuck = MemoryHub(queue_size=4), asyncio.Event()
    slow, quick = Socket(), Socket()
    slow.reading.clear()
    with hub.join("a", slow.send, stuck.set), hub.join("a", quick.send, pytest.fail):
        for number in range(1000):
            await hub.publish("a", str(number))
        await pending_deliveries()
        assert stuck.is_set()
        assert quick.received == [str(number) for number in range(1000)]
        assert slow.received == []


async def test_it_is_always_ready() -> None:
    hub = MemoryHub(queue_size=1)
    await hub.start()
    await hub.check()
    await hub.stop()
