from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError
from starlette.responses import PlainTextResponse

from app.config import Settings
from app.core.settings import describe
from app.factory import create_app
from app.middleware.trusted_host import TrustedHostMiddleware, TrustedHostSettings
from tests.support import call_app, reject_websocket

LAYER = TrustedHostMiddleware(
    PlainTextResponse("served"),
    allowed_hosts=["Example.com", "*.example.org", "10.0.0.1", "[::1]"],
    exempt_paths=["/healthz"],
)
TRUSTED = """
    example.com EXAMPLE.com example.com:8000 a.example.org a.b.Example.org:443 10.0.0.1:80 [::1]
    [::1]:8000
"""
OTHERS = r"""
    example.net www.example.com example.com.evil.net evil-example.com example.org evilexample.org
    *.example.org 10.0.0.1.evil.net [::2] ::1 [::1 [::1]evil.net user@example.com
    example.com@evil.net example.com:80@evil.net evil.net/.example.org evil.net?a.example.org
    evil.net#a.example.org evil.net\a.example.org example.com: example.com:port example.com:80:80
    example.com,evil.net example.com%0a %20example.com ex%c3%a4mple.com %ff.example.org %00
"""
INVALID_HOSTS = "https://a.com a.com:8000 a.com/b a.com,*b.com a.*.com *. ::1 [::1]:8000"


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        *(([host], 200) for host in TRUSTED.split()),
        *(([host], 400) for host in OTHERS.split()),
        ([], 400),
        ([""], 400),
        (["example.com", "example.com"], 400),
        (["example.com", "evil.net"], 400),
        (["evil.net", "example.com"], 400),
    ],
    ids=str,
)
def test_only_allowed_hosts_are_served(hosts: list[str], status: int) -> None:
    headers = [(b"host", unquote_to_bytes(host)) for host in hosts]
    assert call_app(LAYER, headers=headers)[0]["status"] == status


@pytest.mark.parametrize(
    ("path", "status"),
    [("/healthz", 200), ("/healthz/", 400), ("/HEALTHZ", 400), ("//healthz", 400), ("/", 400)],
)
def test_only_the_liveness_check_accepts_any_host(path: str, status: int) -> None:
    headers = [(b"host", b"172.17.0.2:8000")]
    assert call_app(LAYER, path=path, headers=headers)[0]["status"] == status


def test_other_hosts_are_rejected_and_not_redirected(client: TestClient) -> None:
    host = {"Host": "evil.net"}
    for response in (client.get("/", headers=host), reject_websocket(client, "/nowhere", **host)):
        assert response.status_code == 400
        assert response.json()["error"]["message"] == "Invalid host header"
    assert reject_websocket(client, "/nowhere").status_code == 404
    assert client.get("/healthz", headers=host).status_code == 200


@pytest.mark.parametrize(("expect", "connection"), [(b"100-Continue", b"close"), (b"", None)])
def test_a_client_that_waits_to_send_its_body_is_told_that_the_connection_closes(
    expect: bytes, connection: bytes | None
) -> None:
    start, _ = call_app(LAYER, headers=[(b"host", b"evil.net"), (b"expect", expect)])
    assert (start["status"], dict(start["headers"]).get(b"connection")) == (400, connection)


@pytest.mark.parametrize("changes", [{"debug": True, "allowed_hosts": []}, {"allowed_hosts": "*"}])
def test_any_host_is_served_if_debug_is_on_or_all_hosts_are_allowed(
    changes: dict[str, object], make_client: Callable[..., TestClient]
) -> None:
    client = make_client(**changes)
    assert client.get("/", headers={"Host": "not a host"}).status_code == 200


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ("[]", "is required"),
        (",", "is required"),
        *((host, "must be host names without scheme") for host in INVALID_HOSTS.split()),
        ("[:::1]", "must have IPv6 addresses in brackets"),
    ],
)
def test_empty_and_invalid_lists_are_rejected(
    hosts: str, message: str, make_settings: Callable[..., Settings]
) -> None:
    with pytest.raises(ValidationError) as caught:
        make_settings(allowed_hosts=hosts)
    (line,) = describe(caught.value)
    assert line.startswith(f"ALLOWED_HOSTS: {message}")


@pytest.mark.parametrize("hosts", ["[::1]", "[::1],localhost", '["[::1]"]', "[0:0:0:0:0:0:0:1]"])
def test_an_ipv6_address_is_a_host(
    hosts: str, environ: Callable[..., None], make_client: Callable[..., TestClient]
) -> None:
    environ(ALLOWED_HOSTS=hosts)
    client = make_client(create_app(Settings()))
    assert client.get("/", headers={"Host": "[::1]:8000"}).status_code == 200
    assert client.get("/", headers={"Host": "[::2]:8000"}).status_code == 400


def test_the_hosts_are_required(environ: Callable[..., None]) -> None:
    environ(ALLOWED_HOSTS="")
    with pytest.raises(ValidationError) as caught:
        Settings()
    (line,) = describe(caught.value)
    assert line.startswith("ALLOWED_HOSTS: is required")


@pytest.mark.parametrize(
    ("hosts", "risks"),
    [
        (["api.example.com", "localhost"], []),
        (["*"], ["ALLOWED_HOSTS: accepts any host; list the hosts of this service instead of *"]),
        (
            ["localhost", "127.0.0.1"],
            ["ALLOWED_HOSTS: accepts only local requests; add the hosts of this service"],
        ),
    ],
)
def test_wildcards_and_local_hosts_are_a_risk(hosts: list[str], risks: list[str]) -> None:
    settings = TrustedHostSettings(allowed_hosts=hosts, docs_enabled=False)
    assert list(settings.risks()) == risks
