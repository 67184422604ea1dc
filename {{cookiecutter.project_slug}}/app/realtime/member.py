"""Membership of a WebSocket in a room."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from app.realtime.hub import Hub

# How long sending the close message to a slow client may take, in seconds.
CLOSE_TIMEOUT = 5

# The close code for a client that may connect again (RFC 6455 and the registry of IANA).
TRY_AGAIN_LATER = 1013


@asynccontextmanager
async def member(hub: Hub, room: str, websocket: WebSocket) -> AsyncIterator[None]:
    """Send the messages of the room to the WebSocket while the block runs.

    The block is cancelled if the client disconnects, or if it reads so slowly that its queue
    overflows. In the second case the connection is closed with 1013.
    """
    error: Exception | None = None

    async def send_all() -> None:
        with suppress(WebSocketDisconnect):
            await queue.send_waiting()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        with hub.join(room, websocket.send_text, tasks.cancel_scope.cancel) as queue:
            tasks.start_soon(send_all)
            try:
                yield
            except WebSocketDisconnect:
                pass
            except Exception as exc:
                # Raised below, because the task group would wrap it in an ExceptionGroup.
                error = exc
            tasks.cancel_scope.cancel()
    if error:
        raise error
    if queue.overflowed and websocket.application_state is WebSocketState.CONNECTED:
        with suppress(WebSocketDisconnect), anyio.move_on_after(CLOSE_TIMEOUT):
            await websocket.close(TRY_AGAIN_LATER, "Too slow")
