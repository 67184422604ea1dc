import asyncio

import pytest

from app.realtime.hub import Inbox

pytestmark = pytest.mark.anyio


async def test_messages_wait_in_order() -> None:
    inbox = Inbox(3, pytest.fail)
    for text in "abc":
        inbox.put(text)
    assert [await inbox.get() for _ in range(3)] == ["a", "b", "c"]


async def test_a_reader_waits_for_messages() -> None:
    inbox = Inbox(2, pytest.fail)
    reader = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    inbox.put("a")
    inbox.put("b")
    assert await reader == "a"
    assert await inbox.get() == "b"


async def test_a_reader_that_gave_up_takes_nothing_along() -> None:
    inbox = Inbox(2, pytest.fail)
    reader = asyncio.create_task(inbox.get())
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.wait([reader])
    inbox.put("a")
    assert await inbox.get() == "a"


async def test_it_says_when_it_is_half_full() -> None:
    inbox = Inbox(4, pytest.fail)
    assert [inbox.put(text) for text in "abcd"] == [False, False, True, True]


async def test_overflow_is_told_once_and_ends_it() -> None:
    calls: list[str] = []
    inbox = Inbox(1, lambda: calls.append("overflow"))
    inbox.put("a")
    assert not inbox.overflowed
    inbox.put("b")
    assert inbox.overflowed
    assert await inbox.get() == "a"
    inbox.put("c")
    inbox.put("d")
    assert calls == ["overflow"]
