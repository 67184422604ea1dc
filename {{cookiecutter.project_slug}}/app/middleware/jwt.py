"""The user of a request or of a WebSocket handshake, by its bearer token."""

import asyncio
import logging
from collections.abc import Collection
from math import ceil
from time import time

from starlette.authentication import AuthCredentials, UnauthenticatedUser
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth import JWTSettings, create_verifier
from app.auth.keys import KeysUnavailable
from app.auth.tokens import InvalidToken, TokenUser
from app.auth.verifier import Verifier
from app.core.errors import error_response
from app.core.logging import context
from app.core.paths import route_path

SUBPROTOCOL = "bearer"

# "Unauthorized" in the registry of close codes. Clients can tell it from other policies (1008).
EXPIRED = 3000

# In seconds: a year, because event loops cannot wait for any length of time.
LONGEST = 31_536_000

__all__ = ["JWTMiddleware", "JWTSettings", "layer"]

logger = logging.getLogger(__name__)


class JWTMiddleware:
    """Set `scope["user"]` and `scope["auth"]` by the access token of the request.

    Without a token the user is anonymous; routes decide whether to require one. A token that
    `verifier` does not accept gets a 401, except at `ignored_paths` and below. While the keys of
    the issuer are not known, a token gets a 503.
    A browser cannot set the headers of a WebSocket, so it sends the token as a subprotocol:
    `new WebSocket(url, ["bearer", token])`. When a token expires, its sockets are closed.
    Starlette's AuthenticationMiddleware sends no such response to a WebSocket.
    Source: RFC 6750; https://www.starlette.io/authentication/
    """

    def __init__(self, app: ASGIApp, *, verifier: Verifier, ignored_paths: Collection[str]) -> None:
        self.app = app
        self.verifier = verifier
        self.ignored = tuple(path + "/" for path in ignored_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        try:
            token = _find_token(scope)
            if self.ignored and (route_path(scope) + "/").startswith(self.ignored):
                token = None
            user = None if token is None else await self.verifier.verify(token)
        except InvalidToken as error:
            logger.info("refused a token: %s", error)
            headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            response = error_response(401, "Invalid access token", headers=headers)
            await response(scope, receive, send)
            return
        except KeysUnavailable as error:
            headers = {"Retry-After": str(max(1, ceil(error.retry_after)))}
            response = error_response(503, "Try again later", headers=headers)
            await response(scope, receive, send)
            return

        if user is None:
            scope["auth"], scope["user"] = AuthCredentials(), UnauthenticatedUser()
            await self.app(scope, receive, send)
            return
        scope["auth"], scope["user"] = AuthCredentials(["authenticated", *user.scopes]), user
        # In every log record of the request.
        context.set({**context.get(), "user": user.identity})
        if scope["type"] == "http":
            await self.app(scope, receive, send)
        else:
            await self.serve_socket(scope, receive, send, user)

    async def serve_socket(
        self, scope: Scope, receive: Receive, send: Send, user: TokenUser
    ) -> None:
        # The application chooses from the others: a response must not contain the token.
        subprotocols = scope.get("subprotocols", [])
        has_subprotocol = subprotocols[:1] == [SUBPROTOCOL]
        scope["subprotocols"] = subprotocols[2 if has_subprotocol else 0 :]
        expires = int(user.claims["exp"]) + self.verifier.leeway
        timer: asyncio.Task[None] | None = None
        expired = False

        async def close_when_expired() -> None:
            nonlocal expired
            now = int(time())
            await asyncio.sleep(min(expires, now + LONGEST) - now)
            expired = True
            logger.info("closing a socket: its token expired")
            reason = "The access token expired"
            await send({"type": "websocket.close", "code": EXPIRED, "reason": reason})

        async def receive_until_expired() -> Message:
            message = await receive()
            # A client that does not read the close frame may still write.
            return {"type": "websocket.disconnect", "code": EXPIRED} if expired else message

        async def send_until_expired(message: Message) -> None:
            nonlocal timer
            if expired:
                # As servers do after a client has disconnected.
                raise OSError("the access token expired")
            if message["type"] == "websocket.accept":
                timer = asyncio.create_task(close_when_expired())
                if has_subprotocol and message.get("subprotocol") is None:
                    message["subprotocol"] = SUBPROTOCOL
            elif message["type"] == "websocket.close" and timer:
                timer.cancel()
            await send(message)

        try:
            await self.app(scope, receive_until_expired, send_until_expired)
        finally:
            if timer:
                timer.cancel()


def layer(settings: JWTSettings, *, ignored_paths: Collection[str] = ()) -> Middleware:
    """Verify tokens, except at `ignored_paths` and below."""
    verifier = create_verifier(settings)
    return Middleware(JWTMiddleware, verifier=verifier, ignored_paths=ignored_paths)


def _find_token(scope: Scope) -> bytes | None:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if not values and "subprotocols" not in scope:
        return None
    if len(values) > 1:
        raise InvalidToken("several Authorization headers")
    tokens = []
    for value in values:
        scheme, _, token = value.partition(b" ")
        if scheme.lower() == b"bearer":
            tokens.append(token.lstrip(b" "))
    # HTTP requests have none.
    subprotocols = scope.get("subprotocols", [])
    if subprotocols[:1] == [SUBPROTOCOL]:
        tokens.append("".join(subprotocols[1:2]).encode())
    if len(tokens) > 1:
        raise InvalidToken("several tokens")
    return tokens[0] if tokens else None
