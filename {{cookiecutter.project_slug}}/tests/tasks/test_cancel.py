import asyncio

import pytest

from app.tasks import cancel as module
from app.tasks.cancel import cancel

pytestmark = pytest.mark.anyio


async def test_a_cancellation_that_gets_lost_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0)
    lost = 0

    async def run() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
                if lost == 3:
                    raise

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    await cancel(task)
    assert task.cancelled() and lost == 3
    await cancel(task)
