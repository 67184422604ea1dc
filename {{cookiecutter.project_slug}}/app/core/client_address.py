"""Which clients are one to the layers that limit clients."""

from ipaddress import IPv6Address

from starlette.types import Scope


def client_network(scope: Scope) -> str:
    """Return the address that the server has for the client; of IPv6 its network.

    Who may set the address by `X-Forwarded-For` is for the server to know
    (`uvicorn --forwarded-allow-ips`).
    """
    # A server on a Unix socket has no address: its clients are one.
    return network_of(scope["client"][0] if scope.get("client") else "")


def network_of(host: str) -> str:
    """Return an address of IPv4 as it is, and the network of one of IPv6.

    One customer has many addresses of IPv6, and all are of one network. Source: RFC 6177
    """
    if ":" not in host:
        return host[:64]
    try:
        address = IPv6Address(host)
    except ValueError:
        # A proxy may have passed on anything.
        return host[:64]
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
