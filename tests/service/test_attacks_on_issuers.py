"""Attacks on the keys of an issuer and their source, against a running service."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Bake
from tests.support.provider import OPENID, Document, Provider, provider
from tests.support.raw import RSAKey, encode, make_rsa_key, sign
from tests.support.service import Response, Service, copied, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tokens")]

AUDIENCE = "https://api.example.com"
HEADER = {"alg": "RS256", "typ": "at+jwt", "kid": "1"}


@pytest.fixture(scope="module")
def installed(install: Bake) -> Path:
    """A project that verifies tokens."""
    return install(jwt="verify")


@pytest.fixture
def project(installed: Path, tmp_path: Path) -> Path:
    """A copy for one test."""
    return copied(installed, tmp_path / "service")


@pytest.fixture(scope="module")
def key() -> RSAKey:
    """The key of the issuer."""
    return make_rsa_key()


@pytest.fixture(scope="module")
def planted() -> RSAKey:
    """The key of an attacker."""
    return make_rsa_key()


@pytest.fixture
def issuer() -> Iterator[Provider]:
    """The issuer, which has published nothing yet."""
    with provider() as running:
        yield running


@contextmanager
def serve(project: Path, issuer: Provider, **changes: str) -> Iterator[Service]:
    """Serve with two settings alone, as in production."""
    settings = {
        "DEBUG": "false",
        "ALLOWED_HOSTS": "127.0.0.1",
        "JWT_ISSUER": issuer.url,
        "JWT_AUDIENCE": AUDIENCE,
    }
    with serving(project, **(settings | changes)) as service:
        yield service


def claims(issuer: Provider, **changes: object) -> dict[str, object]:
    """Return the claims of a good token."""
    now = int(time.time())
    common = {"iss": issuer.url, "aud": AUDIENCE, "sub": "ada", "exp": now + 3600}
    return common | changes


def ask(service: Service, token: bytes) -> Response:
    """Send a token."""
    return service.get("/users/me", Authorization=f"Bearer {token.decode()}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["metadata", "keys"])
def test_no_redirect_is_followed(
    status: int, place: str, project: Path, issuer: Provider, key: RSAKey, planted: RSAKey
) -> None:
    with provider() as attacker:
        attacker.publish("/keys", {"keys": [planted.jwk("1")]})
        metadata = {"issuer": issuer.url, "jwks_uri": attacker.url + "/keys"}
        attacker.publish(OPENID, metadata)
        if place == "metadata":
            issuer.redirect(OPENID, attacker.url + OPENID, status)
        else:
            issuer.publish_metadata(issuer.url, issuer.url + "/keys")
            issuer.redirect("/keys", attacker.url + "/keys", status)
        with serve(project, issuer) as service:
            response = ask(service, planted.sign(HEADER, claims(issuer)))
            assert response.status == 503
            assert int(response.headers["Retry-After"]) <= 10
            assert str(status) in (project / "uvicorn.log").read_text(encoding="utf-8")
        assert attacker.requested == []


@pytest.mark.parametrize("change", ["/", "/tenant", ".evil.example", "#", "?"])
def test_metadata_of_another_issuer_is_rejected(
    change: str, project: Path, issuer: Provider, planted: RSAKey
) -> None:
    issuer.publish("/keys", {"keys": [planted.jwk("1")]})
    document = {"issuer": issuer.url + change, "jwks_uri": issuer.url + "/keys"}
    issuer.publish(OPENID, document)
    with serve(project, issuer) as service:
        for claim in (issuer.url, issuer.url + change):
            assert ask(service, planted.sign(HEADER, claims(issuer, iss=claim))).status == 503
        log = (project / "uvicorn.log").read_text(encoding="utf-8")
    assert "which JWT_ISSUER must equal" in log
    assert "/keys" not in issuer.requested


def test_the_metadata_of_a_tenant_is_not_that_of_another(
    project: Path, issuer: Provider, key: RSAKey, planted: RSAKey
) -> None:
    tenant = issuer.url + "/ours"
    issuer.publish("/theirs/keys", {"keys": [planted.jwk("1")]})
    issuer.publish("/ours/keys", {"keys": [key.jwk("1")]})
    issuer.publish_metadata(issuer.url + "/theirs", issuer.url + "/theirs/keys")
    path = "/.well-known/oauth-authorization-server/ours"
    issuer.publish_metadata(tenant, tenant + "/keys", path)
    with serve(project, issuer, JWT_ISSUER=tenant) as service:
        good = claims(issuer, iss=tenant)
        assert ask(service, key.sign(HEADER, good)).status == 200
        assert ask(service, planted.sign(HEADER, good)).status == 401
        assert ask(service, key.sign(HEADER, claims(issuer))).status == 401
    assert issuer.requested == ["/ours" + OPENID, path, "/ours/keys"]


def test_private_and_symmetric_keys_are_skipped(
    project: Path, issuer: Provider, key: RSAKey, planted: RSAKey
) -> None:
    secret = b"k" * 32
    private = planted.jwk("private") | {"d": encode(planted.d.to_bytes(256)).decode()}
    symmetric = {"kty": "oct", "kid": "secret", "alg": "HS256", "k": encode(secret).decode()}
    disguised = {"kty": "oct", "kid": "disguised", "alg": "RS256", "k": encode(secret).decode()}
    issuer.publish_metadata(issuer.url, issuer.url + "/keys")
    issuer.publish("/keys", {"keys": [private, symmetric, disguised, key.jwk("1")]})
    with serve(project, issuer) as service:
        good = claims(issuer)
        assert ask(service, key.sign(HEADER, good)).status == 200
        hostile = [
            planted.sign(HEADER | {"kid": "private"}, good),
            sign(HEADER | {"kid": "secret", "alg": "HS256"}, good, secret),
            sign(HEADER | {"kid": "disguised"}, good, secret),
            sign(HEADER | {"kid": "1", "alg": "HS256"}, good, key.pem()),
        ]
        for token in hostile:
            # The unknown ones cannot be told from new ones.
            assert ask(service, token).status in (401, 503)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [null, 1, [], {}, {"kty": []}]}',
        b"[" * 100_000,
        b'{"keys": [' + b"1," * 600_000 + b"1]}",
    ],
    ids=range(8),
)
def test_a_document_that_is_no_key_set_is_no_error_of_the_service(
    body: bytes, project: Path, issuer: Provider, planted: RSAKey
) -> None:
    issuer.publish_metadata(issuer.url, issuer.url + "/keys")
    issuer.documents["/keys"] = Document(body)
    with serve(project, issuer) as service:
        assert ask(service, planted.sign(HEADER, claims(issuer))).status == 503
        assert service.get("/healthz").status == 200


def test_a_revoked_key_ends_its_tokens_and_a_new_one_starts(
    project: Path, issuer: Provider, key: RSAKey, planted: RSAKey
) -> None:
    issuer.publish_metadata(issuer.url, issuer.url + "/keys")
    issuer.publish("/keys", {"keys": [key.jwk("1")]})
    with serve(project, issuer) as service:
        old = key.sign(HEADER, claims(issuer))
        for _ in range(3):
            assert ask(service, old).status == 200
        issuer.publish("/keys", {"keys": [planted.jwk("2")]})
        new = planted.sign(HEADER | {"kid": "2"}, claims(issuer))
        response = ask(service, new)
        assert response.status == 503
        deadline = time.monotonic() + int(response.headers["Retry-After"]) + 5
        while response.status == 503 and time.monotonic() < deadline:
            assert ask(service, old).status == 200
            time.sleep(0.2)
            response = ask(service, new)
        assert response.status == 200
        for _ in range(3):
            assert ask(service, old).status == 401
    assert issuer.requested == [OPENID, "/keys"] * 2


def test_a_route_cannot_change_the_user_of_other_requests(
    project: Path, issuer: Provider, key: RSAKey
) -> None:
    with (project / "app" / "main.py").open("a", encoding="utf-8") as main:
        main.write(
            "\n\nfrom app.auth.dependencies import CurrentUser\n\n\n"
            '@app.get("/change/{what}")\n'
            "async def change(what: str, user: CurrentUser) -> str:\n"
            "    changes = {\n"
            '        "claims": lambda: user.claims.update(sub="admin"),\n'
            '        "nested": lambda: user.claims["realm"]["roles"].append("admin"),\n'
            '        "scopes": lambda: user.scopes.append("admin"),\n'
            '        "user": lambda: setattr(user, "scopes", ("admin",)),\n'
            "    }\n"
            "    try:\n"
            "        changes[what]()\n"
            "    except (AttributeError, TypeError):\n"
            '        return "refused"\n'
            '    return "changed"\n'
        )
    issuer.publish_metadata(issuer.url, issuer.url + "/keys")
    issuer.publish("/keys", {"keys": [key.jwk("1")]})
    token = key.sign(HEADER, claims(issuer, realm={"roles": ["user"]}, scope="a b")).decode()
    with serve(project, issuer) as service:
        for what in ("claims", "nested", "scopes", "user"):
            response = service.get(f"/change/{what}", Authorization=f"Bearer {token}")
            assert response.json() == "refused"
        me = service.get("/users/me", Authorization=f"Bearer {token}").json()
        assert me == {"id": "ada", "username": "ada", "scopes": ["a", "b"]}


def test_an_issuer_that_drips_holds_no_request_for_long(project: Path, planted: RSAKey) -> None:
    stopped = threading.Event()

    def drip(listener: socket.socket) -> None:
        while not stopped.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not stopped.wait(0.1):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        break

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=[listener], daemon=True)
        thread.start()
        issuer = Provider(f"http://127.0.0.1:{listener.getsockname()[1]}")
        try:
            with serve(project, issuer) as service:
                started = time.monotonic()
                token = planted.sign(HEADER, claims(issuer))
                statuses: list[Any] = []
                threads = [
                    threading.Thread(target=lambda: statuses.append(ask(service, token).status))
                    for _ in range(5)
                ]
                for each in threads:
                    each.start()
                # Others are served meanwhile.
                assert service.get("/healthz").status == 200
                for each in threads:
                    each.join()
                assert statuses == [503] * 5
                assert time.monotonic() - started < 8
                log = (project / "uvicorn.log").read_text(encoding="utf-8")
        finally:
            stopped.set()
    messages = [json.loads(line)["message"] for line in log.splitlines()]
    assert messages.count("cannot fetch the keys of the issuer within 5.0 seconds") == 1
