"""What `python -m app.serve` reads besides its options."""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from pydantic import Field, field_validator

from app.core.settings import CoreSettings, StringList

# Proxies whose `X-Forwarded-For` is trusted by default: those on the same machine.
LOCAL = ["127.0.0.1", "::1", "unix"]


class ServerSettings(CoreSettings):
    """How patient the server is, and which proxies it trusts.

    `REQUEST_TIMEOUT` (30): seconds until the headers of a request are complete, and seconds without
    a byte of its body, after which the connection is closed.
    `FORWARDED_ALLOW_IPS` (127.0.0.1,::1,unix): the addresses and networks of the proxies whose
    `X-Forwarded-For` and `X-Forwarded-Proto` are trusted; `unix` are the clients of `--uds`.
    """

    request_timeout: float = Field(default=30, gt=0)
    forwarded_allow_ips: StringList = LOCAL

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _check_forwarded_allow_ips(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in ("*", "unix"):
                try:
                    ip_network(name)
                except ValueError:
                    message = "must be addresses or networks, such as 10.0.0.5,10.1.0.0/16, or unix"
                    raise ValueError(message) from None
        # uvicorn understands the asterisk only when it stands alone.
        return ["*"] if "*" in names else names

    def risks(self) -> Iterator[str]:
        if trusts_clients(self.forwarded_allow_ips):
            yield "FORWARDED_ALLOW_IPS: lets clients forge their address; list your proxies"
        if self.docs_enabled:
            yield "DOCS_ENABLED: publishes the documentation; set it to false unless it is public"
        yield from super().risks()


def trusts_clients(names: Iterable[str]) -> bool:
    """Return whether addresses and networks of proxies include much of the Internet."""
    return any(name == "*" or _is_large(name) for name in names)


def _is_large(name: str) -> bool:
    try:
        network = ip_network(name)
    except ValueError:
        return False
    return not network.is_private and network.prefixlen < (8 if network.version == 4 else 16)
