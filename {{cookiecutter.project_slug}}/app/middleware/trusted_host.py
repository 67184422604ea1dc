"""A check of the Host header."""

import re
from collections.abc import Collection, Iterator
from ipaddress import AddressValueError, IPv6Address

from pydantic import Field, ValidationInfo, field_validator
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import close_headers, error_response, expects_continue
from app.core.paths import LIVENESS, route_path
from app.core.settings import CoreSettings, StringList

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})

_parse_host = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?").fullmatch
_is_pattern = re.compile(r"\*|(\*\.)?[a-z0-9._-]+|\[[0-9a-f:.]+\]", re.IGNORECASE).fullmatch


class TrustedHostSettings(CoreSettings):
    """The hosts of this service.

    `ALLOWED_HOSTS` (none): the host names of this service, without a port; `*.example.com` matches
    subdomains, `*` matches any host, and IPv6 addresses have brackets: `[::1]`. Required unless
    `DEBUG` is on, which turns the check off.
    """

    allowed_hosts: StringList = Field(default=[], validate_default=True)

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: list[str], info: ValidationInfo) -> list[str]:
        if not hosts and not info.data.get("debug"):
            raise ValueError("is required; list the hosts of this service, such as api.example.com")
        if not all(_is_pattern(host) for host in hosts):
            raise ValueError(
                "must be host names without scheme, port or path, such as a.example.com, "
                "or addresses, such as 127.0.0.1 or [::1]"
            )
        return [_normalize_address(host) for host in hosts]

    def risks(self) -> Iterator[str]:
        if "*" in self.allowed_hosts:
            yield "ALLOWED_HOSTS: accepts any host; list the hosts of this service instead of *"
        elif self.allowed_hosts and LOCAL_HOSTS.issuperset(self.allowed_hosts):
            yield "ALLOWED_HOSTS: accepts only local requests; add the hosts of this service"
        yield from super().risks()


class TrustedHostMiddleware:
    """Rejects requests and WebSocket handshakes for other hosts with a 400.

    `allowed_hosts`: host names; `*.example.com` matches subdomains. `exempt_paths`: paths that
    accept any host. Source: RFC 9110, section 7.2
    """

    # Starlette's TrustedHostMiddleware responds in plain text and has no exempt paths.

    def __init__(
        self, app: ASGIApp, *, allowed_hosts: Collection[str], exempt_paths: Collection[str]
    ) -> None:
        self.app = app
        patterns = [host.lower() for host in allowed_hosts]
        self.hosts = frozenset(host for host in patterns if not host.startswith("*"))
        self.suffixes = tuple(host[1:] for host in patterns if host.startswith("*"))
        self.exempt_paths = frozenset(exempt_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] not in ("http", "websocket")
            or self.is_trusted(scope)
            or route_path(scope) in self.exempt_paths
        ):
            await self.app(scope, receive, send)
        else:
            headers = close_headers(scope) if expects_continue(scope) else None
            response = error_response(400, "Invalid host header", headers=headers)
            await response(scope, receive, send)

    def is_trusted(self, scope: Scope) -> bool:
        values = [value for name, value in scope["headers"] if name == b"host"]
        match = _parse_host(values[0].decode("latin-1").lower()) if len(values) == 1 else None
        return match is not None and (match[1] in self.hosts or match[1].endswith(self.suffixes))


def layer(settings: TrustedHostSettings) -> Middleware | None:
    """Reject requests for hosts that are not in `ALLOWED_HOSTS`, unless `DEBUG` is on."""
    if settings.debug or "*" in settings.allowed_hosts:
        return None
    # Liveness probes request the address of a container, not its host name.
    return Middleware(
        TrustedHostMiddleware, allowed_hosts=settings.allowed_hosts, exempt_paths=[LIVENESS]
    )


def _normalize_address(host: str) -> str:
    # Clients send an IPv6 address in its short form (RFC 5952): [::1], not [0:0:0:0:0:0:0:1].
    if not host.startswith("["):
        return host
    try:
        return f"[{IPv6Address(host[1:-1])}]"
    except AddressValueError:
        raise ValueError("must have IPv6 addresses in brackets, such as [::1]") from None
