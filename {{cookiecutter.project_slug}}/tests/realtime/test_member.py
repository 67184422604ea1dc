import asyncio

import pytest
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.realtime import member as module
from app.realtime.member import member
from app.realtime.memory_hub import MemoryHub

pytestmark = pytest.mark.anyio


class Socket:
    """The server's side of a WebSocket. A send waits while the client is not `reading`."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.error: Exception | None = None
        self.got = asyncio.Event()
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})

    async def send(self, message: Message) -> None:
        await self.reading.wait()
        if self.error:
            raise self.error
        self.sent.append(message)
        self.got.set()

    async def accept(self) -> WebSocket:
        websocket = WebSocket({"type": "websocket"}, self.incoming.get, self.send)
        await websocket.accept()
        self.got.clear()
        return websocket


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub(queue_size=2)


async def forever() -> None:
    await asyncio.Event().wait()


async def stay(hub: MemoryHub, websocket: WebSocket) -> None:
    async with member(hub, "a", websocket):
        await forever()


async def test_messages_are_sent_while_the_block_runs(hub: MemoryHub) -> None:
    socket, before = Socket(), asyncio.all_tasks()
    async with member(hub, "a", await socket.accept()):
        await hub.publish("a", "hello")
        await socket.got.wait()
    await hub.publish("a", "too late")
    assert socket.sent[1:] == [{"type": "websocket.send", "text": "hello"}]
    assert (hub.rooms, asyncio.all_tasks()) == ({}, before)


@pytest.mark.parametrize("error", [OSError(), WebSocketDisconnect(1006)])
async def test_the_block_ends_when_the_client_disconnects(hub: MemoryHub, error: Exception) -> None:
    socket = Socket()
    async with asyncio.timeout(10), member(hub, "a", await socket.accept()):
        socket.error = error
        await hub.publish("a", "hello")
        await forever()
    assert hub.rooms == {}


async def test_a_disconnect_in_the_block_is_not_an_error(hub: MemoryHub) -> None:
    async with member(hub, "a", await Socket().accept()):
        raise WebSocketDisconnect(1001)
    assert hub.rooms == {}


async def test_an_error_in_the_block_is_raised_unchanged(hub: MemoryHub) -> None:
    with pytest.raises(ValueError, match="mine"):
        async with member(hub, "a", await Socket().accept()):
            raise ValueError("mine")
    assert hub.rooms == {}


async def test_other_errors_of_sending_are_raised(hub: MemoryHub) -> None:
    socket = Socket()
    with pytest.raises(ExceptionGroup):
        async with member(hub, "a", await socket.accept()):
            socket.error = RuntimeError("a bug")
            await hub.publish("a", "hello")
            await forever()
    assert hub.rooms == {}


async def test_cancelling_the_block_leaves_the_room(hub: MemoryHub) -> None:
    websocket, before = await Socket().accept(), asyncio.all_tasks()
    task = asyncio.create_task(stay(hub, websocket))
    await asyncio.sleep(0)
    assert len(hub.rooms["a"]) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (hub.rooms, asyncio.all_tasks()) == ({}, before)


async def test_a_slow_client_is_disconnected_and_delays_no_other(hub: MemoryHub) -> None:
    slow, quick = Socket(), Socket()
    staying = asyncio.create_task(stay(hub, await slow.accept()))
    async with asyncio.timeout(10), member(hub, "a", await quick.accept()):
        slow.reading.clear()
        for number in range(100):
            quick.got.clear()
            await hub.publish("a", str(number))
            await quick.got.wait()
        assert len(hub.rooms["a"]) == 1
        slow.reading.set()
        await staying
    assert [message["text"] for message in quick.sent[1:]] == [str(n) for n in range(100)]
    assert slow.sent[1:] == [{"type": "websocket.close", "code": 1013, "reason": "Too slow"}]


async def test_a_disconnected_client_is_not_sent_a_close(hub: MemoryHub) -> None:
    socket = Socket()
    async with asyncio.timeout(10), member(hub, "a", await socket.accept()):
        socket.error = OSError()
        for number in range(100):
            await hub.publish("a", str(number))
        await forever()
    assert len(socket.sent) == 1


async def test_closing_a_client_that_does_not_read_is_given_up(
    hub: MemoryHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_TIMEOUT", 0.01)
    socket, before = Socket(), asyncio.all_tasks()
    async with asyncio.timeout(10), member(hub, "a", await socket.accept()):
        socket.reading.clear()
        for number in range(9):
            await hub.publish("a", str(number))
        await forever()
    assert len(socket.sent) == 1
    assert (hub.rooms, asyncio.all_tasks()) == ({}, before)
