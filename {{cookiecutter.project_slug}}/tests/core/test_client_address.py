import pytest

from app.core.client_address import client_network


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("testclient", "testclient"),
        ("no:address", "no:address"),
    ],
)
def test_an_ipv6_network_is_one_client(host: str, network: str) -> None:
    assert client_network({"type": "websocket", "client": (host, 50000)}) == network


def test_clients_without_an_address_count_as_one() -> None:
    assert client_network({"type": "http", "client": None}) == ""
    assert client_network({"type": "http"}) == ""
