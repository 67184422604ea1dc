from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from pydantic import ValidationError
from starlette.responses import PlainTextResponse
from starlette.types import Message

from app.core.config import Settings
from app.core.settings import describe
from app.middleware.trusted_host import TrustedHostMiddleware

HOSTS = ["Example.com", "*.example.org", "10.0.0.1", "[::1]"]


def status(exchange: Callable[..., list[Message]], hosts: list[bytes], path: str = "/") -> int:
    layer = TrustedHostMiddleware(
        PlainTextResponse("served"), allowed_hosts=HOSTS, exempt_paths=["/healthz"]
    )
    headers = [(b"host", host) for host in hosts]
    sent = exchange(layer, path=path, headers=headers)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "host",
    [
        b"example.com",
        b"EXAMPLE.com",
        b"example.com:8000",
        b"a.example.org",
        b"a.b.Example.org:443",
        b"10.0.0.1:80",
        b"[::1]",
        b"[::1]:8000",
    ],
)
def test_a_host_on_the_list_is_served(host: bytes, exchange: Callable[..., list[Message]]) -> None:
    assert status(exchange, [host]) == 200


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b""],
        [b"example.net"],
        [b"www.example.com"],
        [b"example.com.evil.net"],
        [b"evil-example.com"],
        [b"example.org"],
        [b"evilexample.org"],
        [b"*.example.org"],
        [b"10.0.0.1.evil.net"],
        [b"[::2]"],
        [b"::1"],
        [b"[::1"],
        [b"[::1]evil.net"],
        [b"user@example.com"],
        [b"example.com@evil.net"],
        [b"example.com:80@evil.net"],
        [b"evil.net/.example.org"],
        [b"evil.net?a.example.org"],
        [b"evil.net#a.example.org"],
        [b"evil.net\\a.example.org"],
        [b"example.com:"],
        [b"example.com:port"],
        [b"example.com:80:80"],
        [b"example.com\n"],
        [b" example.com"],
        [b"example.com, evil.net"],
        [b"ex\xc3\xa4mple.com"],
        [b"\xff.example.org"],
        [b"example.com", b"example.com"],
        [b"example.com", b"evil.net"],
        [b"evil.net", b"example.com"],
    ],
)
def test_any_other_host_is_refused(
    hosts: list[bytes], exchange: Callable[..., list[Message]]
) -> None:
    assert status(exchange, hosts) == 400


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/healthz", 200),
        ("/healthz/", 400),
        ("/HEALTHZ", 400),
        ("//healthz", 400),
        ("/readyz", 400),
    ],
)
def test_only_the_probe_of_liveness_may_call_an_address(
    path: str, expected: int, exchange: Callable[..., list[Message]]
) -> None:
    assert status(exchange, [b"172.17.0.2:8000"], path) == expected


def test_a_refusal_has_the_envelope_and_is_no_redirect(client: TestClient) -> None:
    response = client.get("/", headers={"Host": "evil.net"}, follow_redirects=False)
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "Invalid host header"
    assert client.get("/healthz", headers={"Host": "evil.net"}).status_code == 200


def test_a_websocket_to_another_host_is_refused(
    client: TestClient, refuse: Callable[..., Response]
) -> None:
    assert refuse(client, "/nowhere", Host="evil.net").status_code == 400
    assert refuse(client, "/nowhere").status_code == 404


@pytest.mark.parametrize("changes", [{"debug": True}, {"allowed_hosts": "*"}])
def test_any_host_is_served_while_debug_is_on_or_where_all_are_allowed(
    changes: dict[str, object], make_client: Callable[..., TestClient]
) -> None:
    response = make_client(**changes).get("/", headers={"Host": "evil.net"})
    assert response.status_code == 200


def test_hosts_are_not_needed_while_debug_is_on(make_settings: Callable[..., Settings]) -> None:
    assert make_settings(debug=True, allowed_hosts=[]).allowed_hosts == []


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ("[]", "name the hosts"),
        (",", "name the hosts"),
        ("https://example.com", "a host has no scheme"),
        ("example.com:8000", "a host has no scheme"),
        ("example.com/path", "a host has no scheme"),
        ("example.com,*example.com", "a host has no scheme"),
        ("a.*.com", "a host has no scheme"),
        ("*.", "a host has no scheme"),
        ("::1", "a host has no scheme"),
    ],
)
def test_a_list_that_is_empty_or_never_matches_is_refused(
    hosts: str, message: str, make_settings: Callable[..., Settings]
) -> None:
    with pytest.raises(ValidationError) as refusal:
        make_settings(allowed_hosts=hosts)
    (line,) = describe(refusal.value)
    assert line.startswith(f"ALLOWED_HOSTS: {message}")


def test_the_hosts_are_required(
    environ: Callable[..., None], make_settings: Callable[..., Settings]
) -> None:
    environ(ALLOWED_HOSTS="")
    with pytest.raises(ValidationError) as refusal:
        Settings()
    assert [line.partition(":")[0] for line in describe(refusal.value)] == ["ALLOWED_HOSTS"]
