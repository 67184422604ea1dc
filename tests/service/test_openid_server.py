"""Tokens of a real OpenID provider: discovery, algorithms, both grants, ID tokens, key rotation."""

import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from tests.conftest import Bake
from tests.support.openid_server import AUDIENCE, OpenIDServer, openid_server
from tests.support.service import Service, copied, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("openid")]

ALGORITHMS = ["RS256", "ES256", "EdDSA", "Ed25519"]


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIDServer]:
    """The provider."""
    with openid_server(tmp_path_factory.mktemp("openid")) as server:
        yield server


@pytest.fixture(scope="module")
def installed(install: Bake) -> Path:
    """A project that verifies tokens, as it is generated."""
    return install(jwt="verify")


@pytest.fixture
def project(installed: Path, tmp_path: Path) -> Path:
    """A copy for one test."""
    return copied(installed, tmp_path / "service")


@pytest.fixture(scope="module")
def service(installed: Path, provider: OpenIDServer) -> Iterator[Service]:
    """The service, with two lines of settings."""
    with serving(installed, JWT_ISSUER=provider.issuer, JWT_AUDIENCE=AUDIENCE) as service:
        yield service


def status_of(service: Service, token: str) -> int:
    """Send a token."""
    return service.get("/users/me", Authorization=f"Bearer {token}").status


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_token_of_a_client_is_accepted(
    algorithm: str, service: Service, provider: OpenIDServer
) -> None:
    token = provider.get_client_token(algorithm)
    assert jwt.get_unverified_header(token)["alg"] == algorithm
    response = service.get("/users/me", Authorization=f"Bearer {token}")
    assert response.status == 200
    name = f"app-{algorithm}"
    assert response.json() == {"id": name, "username": name, "scopes": ["items:read"]}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_token_of_a_user_is_accepted_and_the_id_token_is_not(
    algorithm: str, service: Service, provider: OpenIDServer
) -> None:
    tokens = provider.log_in(algorithm, "ada", nonce="n")
    response = service.get("/users/me", Authorization=f"Bearer {tokens['access_token']}")
    assert response.status == 200
    assert response.json() == {"id": "ada", "username": "ada", "scopes": ["items:read"]}
    header = jwt.get_unverified_header(tokens["id_token"])
    assert header["alg"] == algorithm
    assert status_of(service, tokens["id_token"]) == 401


def test_an_id_token_is_rejected_where_the_audience_is_the_client(
    project: Path, provider: OpenIDServer
) -> None:
    marked = provider.log_in("RS256", "ada", nonce="n")["id_token"]
    # Of a login without a nonce: nothing but the type of access tokens tells it apart.
    unmarked = provider.log_in("RS256", "ada")["id_token"]
    settings = {"JWT_ISSUER": provider.issuer, "JWT_AUDIENCE": "app-RS256"}
    for more, expected in [
        ({}, (401, 200)),
        ({"JWT_TYPE": "at+jwt"}, (401, 401)),
        ({"JWT_ACCEPT_ID_TOKENS": "true"}, (200, 200)),
    ]:
        with serving(project, **settings, **more) as service:
            assert (status_of(service, marked), status_of(service, unmarked)) == expected


def test_keys_may_be_configured_without_discovery(project: Path, provider: OpenIDServer) -> None:
    settings = {
        "JWT_ISSUER": provider.issuer,
        "JWT_AUDIENCE": AUDIENCE,
        "JWT_JWKS_URL": f"{provider.issuer}/jwks",
        "JWT_ALGORITHM": "ES256",
        "JWT_TYPE": "at+jwt",
    }
    with serving(project, **settings) as service:
        assert status_of(service, provider.get_client_token("ES256")) == 200
        assert status_of(service, provider.get_client_token("RS256")) == 401


def test_a_token_for_another_api_is_rejected(project: Path, provider: OpenIDServer) -> None:
    settings = {"JWT_ISSUER": provider.issuer, "JWT_AUDIENCE": "https://other.example.com"}
    with serving(project, **settings) as service:
        assert status_of(service, provider.get_client_token("RS256")) == 401


def test_rotated_keys_replace_the_old_ones(service: Service, provider: OpenIDServer) -> None:
    old = {algorithm: provider.get_client_token(algorithm) for algorithm in ALGORITHMS}
    for token in old.values():
        assert status_of(service, token) == 200
    provider.rotate()
    new = {algorithm: provider.get_client_token(algorithm) for algorithm in ALGORITHMS}
    deadline = time.monotonic() + 15
    while (status := status_of(service, new["RS256"])) == 503 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert status == 200
    for algorithm in ALGORITHMS:
        assert status_of(service, new[algorithm]) == 200
        assert status_of(service, old[algorithm]) == 401
