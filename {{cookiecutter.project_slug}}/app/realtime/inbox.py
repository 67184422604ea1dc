"""The messages for one socket."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any

Send = Callable[[str], Coroutine[Any, Any, None]]


class Inbox:
    """The messages for one socket, in order.

    They are sent as they come for as long as `send` does so without waiting, which is what almost
    all do: to wake a task for each message and socket would take twice the time. What has to wait
    is left to `send_rest`. `size` messages may: who reads slower than others write is not waited
    for. `on_overflow` is called instead, and nothing more is taken.
    """

    def __init__(self, size: int, send: Send, on_overflow: Callable[[], object]) -> None:
        self.overflowed = False
        self._size = size
        self._send = send
        self._on_overflow = on_overflow
        self._waiting: deque[str] = deque()
        self._begun = _new_future()

    def put(self, text: str) -> None:
        """Send a message, or let it wait."""
        if not self._begun.done():
            if rest := _begin(self._send(text)):
                self._begun.set_result(rest)
        elif len(self._waiting) < self._size:
            self._waiting.append(text)
        elif not self.overflowed:
            self.overflowed = True
            self._on_overflow()

    async def send_rest(self) -> None:
        """Send what has to wait, again and again. Raises what `send` does."""
        while True:
            await (await self._begun)
            while self._waiting:
                await self._send(self._waiting.popleft())
            self._begun = _new_future()


_Rest = Generator[Any, Any, None]


def _new_future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


def _begin(call: Coroutine[Any, Any, None]) -> Any:
    """Run a coroutine until it has to wait. Return the rest of it to await, if there is one."""
    try:
        waits_for = call.send(None)
    except StopIteration:
        return None
    except Exception as error:
        return _fail(error)
    return _resume(call, waits_for)


@coroutine
def _resume(call: Coroutine[Any, Any, None], waits_for: object) -> _Rest:
    # What the coroutine waits for is handed to the task that awaits this one.
    yield waits_for
    yield from call.__await__()


@coroutine
def _fail(error: Exception) -> _Rest:
    yield from ()
    raise error
