"""Security headers on every response."""

from pydantic import Field
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.settings import CoreSettings

HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
]


class SecurityHeadersSettings(CoreSettings):
    """Security headers.

    `HSTS_MAX_AGE` (31536000): for how many seconds browsers use only https for this host; 0 sends
    no `Strict-Transport-Security` header.
    """

    hsts_max_age: int = Field(default=31_536_000, ge=0)


class SecurityHeadersMiddleware:
    """Adds security headers, unless the response has them already.

    `hsts_max_age`: the lifetime of `Strict-Transport-Security` in seconds, which is sent over https
    only; 0 does not send it.
    Source: https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html, RFC 6797
    """

    def __init__(self, app: ASGIApp, *, hsts_max_age: int) -> None:
        self.app = app
        self.http_headers = HEADERS
        self.https_headers = list(HEADERS)
        if hsts_max_age:
            hsts = b"max-age=%d" % hsts_max_age
            self.https_headers.append((b"strict-transport-security", hsts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        additions = self.https_headers if scope["scheme"] in ("https", "wss") else self.http_headers

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = list(message.get("headers", ()))
                present = {name.lower() for name, _ in headers}
                headers += [header for header in additions if header[0] not in present]
                message["headers"] = headers
            await send(message)

        await self.app(scope, receive, send_with_headers)


def layer(settings: SecurityHeadersSettings) -> Middleware:
    """Add security headers to every response."""
    return Middleware(SecurityHeadersMiddleware, hsts_max_age=settings.hsts_max_age)
