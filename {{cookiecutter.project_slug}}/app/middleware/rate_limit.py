"""Rate limits per client."""

from collections.abc import Collection, Mapping
from typing import Literal

from pydantic import field_validator
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.client_address import client_network
from app.core.errors import error_response
from app.core.paths import LIVENESS, READINESS, route_path
from app.core.redis import RedisSettings
from app.core.settings import StringList
from app.limits.limit import Limit, Limiter, WindowState

RESPONSE_HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")

_HEADERS = tuple(name.lower().encode() for name in RESPONSE_HEADERS)

_RESPONSE_STARTS = ("http.response.start", "websocket.accept", "websocket.http.response.start")


class RateLimitSettings(RedisSettings):
    """Rate limits.

    `RATE_LIMIT` (100/minute): the number of requests that a client may make per second, minute,
    hour or day.
    `RATE_LIMIT_PATHS` (none): other limits for paths and all paths below them, each counted
    separately, such as `/token=5/minute,/items=20/second`.
    `RATE_LIMIT_ON_STORE_ERROR` (allow): `allow` or `refuse` requests while Redis is unavailable.
    """

    rate_limit: str = "100/minute"
    rate_limit_paths: StringList = []
    rate_limit_on_store_error: Literal["allow", "refuse"] = "allow"

    @field_validator("rate_limit")
    @classmethod
    def _check_rate_limit(cls, value: str) -> str:
        Limit.parse(value)
        return value

    @field_validator("rate_limit_paths")
    @classmethod
    def _check_rate_limit_paths(cls, rules: list[str]) -> list[str]:
        for rule in rules:
            path, separator, limit = rule.partition("=")
            if not (path.startswith("/") and separator):
                raise ValueError("must be a list of paths with limits, such as /token=5/minute")
            Limit.parse(limit)
        return rules


class RateLimitMiddleware:
    """Rejects requests and WebSocket handshakes of clients that exceed a limit with a 429.

    A client is an IPv4 address or an IPv6 network, as reported by the server. `limit`: the limit
    of all paths but the following. `path_limits`: limits of paths, with all paths below them; `/`
    matches only itself. `exempt_paths`: paths without a limit. `limiter`: counts the requests.
    `is_required`: reject requests with a 503 while the limiter is unavailable; else allow them.
    Source: RFC 6585, section 4; draft-ietf-httpapi-ratelimit-headers-06
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limit: Limit,
        path_limits: Mapping[str, Limit],
        exempt_paths: Collection[str],
        limiter: Limiter,
        is_required: bool,
    ) -> None:
        self.app = app
        self.limit = limit
        rules = [(path.rstrip("/") or "/", limit) for path, limit in path_limits.items()]
        # The longest first, because the most specific rule applies.
        self.rules = sorted(rules, key=lambda rule: len(rule[0]), reverse=True)
        self.exempt_paths = frozenset(exempt_paths)
        self.limiter = limiter
        self.is_required = is_required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        path = route_path(scope)
        if path in self.exempt_paths:
            await self.app(scope, receive, send)
            return

        rule, limit = self.find_rule(path)
        window = await self.limiter.hit(f"{rule}:{client_network(scope)}", limit)
        if window is None and self.is_required:
            response = error_response(503, "Try again later", headers={"Retry-After": "1"})
            await response(scope, receive, send)
        elif window is None:
            await self.app(scope, receive, send)
        elif window.is_open:
            await self.app(scope, receive, _with_headers(send, limit, window))
        else:
            headers = {"Retry-After": str(window.reset)}
            response = error_response(429, "Too many requests", headers=headers)
            await response(scope, receive, _with_headers(send, limit, window))

    def find_rule(self, path: str) -> tuple[str, Limit]:
        for rule, limit in self.rules:
            if path == rule or path.startswith(f"{rule}/"):
                return rule, limit
        return "", self.limit


def layer(settings: RateLimitSettings, limiter: Limiter) -> Middleware:
    """Limit the requests of each client to all paths except the health checks.

    `limiter`: counts the requests.
    """
    rules = [rule.partition("=") for rule in settings.rate_limit_paths]
    return Middleware(
        RateLimitMiddleware,
        limit=Limit.parse(settings.rate_limit),
        path_limits={path: Limit.parse(limit) for path, _, limit in rules},
        exempt_paths=[LIVENESS, READINESS],
        limiter=limiter,
        is_required=settings.rate_limit_on_store_error == "refuse",
    )


def _with_headers(send: Send, limit: Limit, window: WindowState) -> Send:
    values = (limit.amount, window.remaining, window.reset)
    headers = [(name, b"%d" % value) for name, value in zip(_HEADERS, values, strict=True)]

    async def send_with_headers(message: Message) -> None:
        if message["type"] in _RESPONSE_STARTS:
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return send_with_headers
