"""A socket in a room."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from app.realtime.hub import Hub

# How long a slow reader may take to read that it is closed, in seconds.
CLOSE_TIMEOUT = 5

TRY_AGAIN_LATER = 1013


@asynccontextmanager
async def member(hub: Hub, room: str, websocket: WebSocket) -> AsyncIterator[None]:
    """Send the messages of the room to the socket for as long as the block runs.

    The block ends early when the socket is gone, or reads so slowly that its inbox is full: then
    it is closed.
    """
    error: Exception | None = None

    async def send_all() -> None:
        with suppress(WebSocketDisconnect):
            await inbox.send_rest()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        with hub.join(room, websocket.send_text, tasks.cancel_scope.cancel) as inbox:
            tasks.start_soon(send_all)
            try:
                yield
            except WebSocketDisconnect:
                pass
            except Exception as exc:
                # Raised below: here it would leave the group as an ExceptionGroup.
                error = exc
            tasks.cancel_scope.cancel()
    if error:
        raise error
    if inbox.overflowed and websocket.application_state is WebSocketState.CONNECTED:
        with suppress(WebSocketDisconnect), anyio.move_on_after(CLOSE_TIMEOUT):
            await websocket.close(TRY_AGAIN_LATER, "Too slow")
