"""The client's address, by which limits tell clients apart."""

from ipaddress import IPv6Address

from starlette.types import Scope


def client_network(scope: Scope) -> str:
    """Return the address of the client as the server reports it; for IPv6, its network.

    The server decides which proxies may set the address by `X-Forwarded-For`
    (`uvicorn --forwarded-allow-ips`).
    """
    # A server on a Unix socket reports no address: all of its clients count as one.
    return network_of(scope["client"][0] if scope.get("client") else "")


def network_of(host: str) -> str:
    """Return an IPv4 address unchanged, and the /64 network of an IPv6 address.

    One customer has at least a whole /64 network of IPv6 addresses. Source: RFC 6177
    """
    if ":" not in host:
        return host[:64]
    try:
        address = IPv6Address(host)
    except ValueError:
        # A proxy may have passed on any text.
        return host[:64]
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
