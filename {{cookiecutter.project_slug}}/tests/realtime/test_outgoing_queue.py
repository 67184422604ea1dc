import asyncio
import gc

import pytest

from app.realtime.outgoing_queue import OutgoingQueue

pytestmark = pytest.mark.anyio


class Socket:
    """Takes texts; not before it is `reading`, and not in one go if `steps` are set."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.steps = 0
        self.error: Exception | None = None
        self.given_up = 0

    async def send(self, text: str) -> None:
        try:
            await self.reading.wait()
            for _ in range(self.steps):
                await asyncio.sleep(0)
        except BaseException:
            self.given_up += 1
            raise
        if self.error:
            raise self.error
        self.sent.append(text)

    async def heard(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.sent) < count:  # noqa: ASYNC110 (there is no event to wait for)
                await asyncio.sleep(0)


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def put_all(queue: OutgoingQueue, texts: str) -> None:
    for text in texts:
        queue.put(text)


async def test_messages_are_sent_at_once_in_order() -> None:
    socket = Socket()
    put_all(OutgoingQueue(1, socket.send, pytest.fail), "abc")
    assert socket.sent == ["a", "b", "c"]


@pytest.mark.parametrize("steps", [0, 1, 3])
async def test_what_has_to_wait_is_sent_later_in_order(steps: int) -> None:
    socket = Socket()
    socket.steps = steps
    queue = OutgoingQueue(10, socket.send, pytest.fail)
    rest = asyncio.create_task(queue.send_waiting())
    for _ in range(3):
        socket.sent.clear()
        put_all(queue, "ab")
        socket.reading.clear()
        put_all(queue, "cd")
        await asyncio.sleep(0)
        put_all(queue, "e")
        socket.reading.set()
        put_all(queue, "f")
        await socket.heard(6)
        assert socket.sent == list("abcdef")
    await end(rest)


async def test_overflow_is_told_once_and_ends_it() -> None:
    calls: list[str] = []
    socket = Socket()
    socket.reading.clear()
    queue = OutgoingQueue(2, socket.send, lambda: calls.append("overflow"))
    # One is on its way, two wait.
    put_all(queue, "abc")
    assert not queue.overflowed
    put_all(queue, "def")
    assert queue.overflowed
    assert calls == ["overflow"]
    socket.reading.set()
    rest = asyncio.create_task(queue.send_waiting())
    await socket.heard(3)
    await end(rest)
    assert socket.sent == ["a", "b", "c"]


@pytest.mark.parametrize("is_reading", [True, False])
async def test_an_error_is_raised_where_the_rest_is_sent(is_reading: bool) -> None:
    socket = Socket()
    socket.error = ValueError("mine")
    if not is_reading:
        socket.reading.clear()
    queue = OutgoingQueue(2, socket.send, pytest.fail)
    put_all(queue, "ab")
    socket.reading.set()
    with pytest.raises(ValueError, match="mine"):
        await queue.send_waiting()


@pytest.mark.parametrize("wait", [0, 3])
async def test_nothing_is_sent_after_the_rest_is_given_up(wait: int) -> None:
    socket = Socket()
    socket.reading.clear()
    queue = OutgoingQueue(3, socket.send, pytest.fail)
    rest = asyncio.create_task(queue.send_waiting())
    put_all(queue, "ab")
    for _ in range(wait):
        await asyncio.sleep(0)
    await end(rest)
    del rest
    socket.reading.set()
    put_all(queue, "c")
    await asyncio.sleep(0)
    assert socket.sent == []
    del queue
    gc.collect()
    assert socket.given_up == 1
