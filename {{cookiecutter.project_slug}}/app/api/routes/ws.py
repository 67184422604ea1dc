"""WebSockets: an echo, and chat rooms."""

from collections.abc import AsyncIterator
from contextlib import suppress
from secrets import token_hex
from typing import Annotated, Literal

import anyio
from fastapi import APIRouter, Path, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ValidationError

from app.realtime.hub import Hub, Unavailable
from app.realtime.member import member

# The close code for a message of an unsupported type (RFC 6455, section 7.4.1).
UNSUPPORTED_DATA = 1003
# How long publishing that a client has left may take, in seconds.
NOTICE_TIMEOUT = 1

router = APIRouter()


class Incoming(BaseModel):
    """A message that a client sends to a room."""

    text: str


class Outgoing(BaseModel):
    """A message that a client receives from a room.

    `sender` identifies the user. `name` is one to show, which another user may have as well.
    An `error` is sent only to the client that caused it. Other types go to everyone in the room.
    """

    type: Literal["message", "joined", "left", "error"]
    room: str
    sender: str | None = None
    name: str | None = None
    text: str | None = None


@router.websocket("/ws")
async def echo(websocket: WebSocket) -> None:
    """Reply to each text message. A binary message closes the connection with 1003."""
    await websocket.accept()
    with suppress(WebSocketDisconnect):
        async for frame in read(websocket):
            if isinstance(frame, bytes):
                await websocket.close(UNSUPPORTED_DATA, "Send text")
                return
            await websocket.send_text(f"Message received: {frame}")


@router.websocket("/ws/{room}")
async def chat(
    websocket: WebSocket, room: Annotated[str, Path(pattern="^[A-Za-z0-9._-]{1,64}$")]
) -> None:
    """Send each `{"text": "..."}` to everyone in the room, the sender included.

    A room exists while a client is in it. A message in another format gets an `error` in return.
    """
    hub: Hub = websocket.app.state.hub
    sender, name = sender_of(websocket)

    async def publish(type: Literal["message", "joined", "left"], text: str | None = None) -> None:
        message = Outgoing(type=type, room=room, sender=sender, name=name, text=text)
        await hub.publish(room, encode(message))

    async def send_error(text: str) -> None:
        await websocket.send_text(encode(Outgoing(type="error", room=room, text=text)))

    await websocket.accept()
    try:
        async with member(hub, room, websocket):
            with suppress(Unavailable):
                await publish("joined")
            async for frame in read(websocket):
                try:
                    text = parse(frame)
                    await publish("message", text)
                except ValueError as error:
                    await send_error(str(error))
                except Unavailable:
                    await send_error("Not sent: try again later")
    finally:
        # Shielded, because the server cancels this task when it stops.
        with anyio.move_on_after(NOTICE_TIMEOUT, shield=True), suppress(Unavailable):
            await publish("left")


def sender_of(websocket: WebSocket) -> tuple[str, str | None]:
    """Return the id of the user and a name to show, or an id for this socket without a user."""
    user = websocket.scope.get("user")
    if user is None or not user.is_authenticated:
        return f"guest-{token_hex(4)}", None
    name = user.display_name
    return str(user.identity), name if name != user.identity else None


async def read(websocket: WebSocket) -> AsyncIterator[str | bytes]:
    """Yield each message, text or binary, until the client disconnects."""
    while (message := await websocket.receive())["type"] == "websocket.receive":
        text = message.get("text")
        yield message["bytes"] if text is None else text


def parse(frame: str | bytes) -> str:
    """Return the text of a message. Raises a ValueError whose text is the error for the client."""
    if isinstance(frame, bytes):
        raise ValueError("Send text, not binary")
    try:
        return Incoming.model_validate_json(frame).text
    except ValidationError:
        raise ValueError('Send JSON, such as {"text": "Hello"}') from None


def encode(message: Outgoing) -> str:
    """Return the JSON of a message, without empty fields."""
    return message.model_dump_json(exclude_none=True)
