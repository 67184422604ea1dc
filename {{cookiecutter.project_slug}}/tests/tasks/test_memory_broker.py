import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from taskiq import TaskiqMiddleware
from taskiq.exceptions import SendTaskError

from app.tasks.broker import TaskSettings, create_broker
from app.tasks.errors import QueueFull
from app.tasks.memory_broker import MemoryBroker
from app.tasks.registry import TASKS

pytestmark = pytest.mark.anyio


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """What the task `wait` waits for."""
    gate = asyncio.Event()

    async def wait() -> str:
        await gate.wait()
        return "waited"

    monkeypatch.setitem(TASKS, "wait", wait)
    return gate


async def make_broker(**settings: Any) -> MemoryBroker:
    broker = create_broker(TaskSettings(**settings), None)
    assert isinstance(broker, MemoryBroker)
    broker.state.context = SimpleNamespace()
    await broker.startup()
    return broker


async def send(broker: MemoryBroker, task_id: str) -> None:
    await broker.local_task_registry["wait"].kicker().with_task_id(task_id).kiq()


async def status(broker: MemoryBroker, task_id: str) -> str | None:
    record = await broker.results.read(task_id)
    return record.status.status if record else None


async def test_a_stop_waits_for_tasks(gate: asyncio.Event) -> None:
    broker = await make_broker()
    await send(broker, "one")
    assert await status(broker, "one") == "pending"
    asyncio.get_running_loop().call_soon(gate.set)
    await broker.shutdown()
    assert await status(broker, "one") == "done"


async def test_a_stop_does_not_wait_for_ever(gate: asyncio.Event) -> None:
    broker = await make_broker(task_shutdown_timeout=0)
    await send(broker, "one")
    await broker.shutdown()
    gate.set()
    await broker.wait_all()


async def test_the_queue_is_bounded(gate: asyncio.Event) -> None:
    broker = await make_broker(task_queue_size=2)
    await send(broker, "one")
    await send(broker, "two")
    with pytest.raises(SendTaskError) as caught:
        await send(broker, "three")
    assert isinstance(caught.value.__cause__, QueueFull)
    assert await status(broker, "three") is None
    gate.set()
    await broker.wait_all()
    await send(broker, "three")
    await broker.wait_all()
    assert await status(broker, "three") == "done"
    await broker.shutdown()


async def test_an_error_around_a_task_is_seen(
    gate: asyncio.Event, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(TaskiqMiddleware):
        def pre_execute(self, message: Any) -> Any:
            raise ZeroDivisionError

    broker = await make_broker()
    broker.add_middlewares(Broken())
    await send(broker, "one")
    await broker.wait_all()
    assert await status(broker, "one") == "failed"
    assert "ZeroDivisionError" in caplog.text
    await broker.shutdown()
